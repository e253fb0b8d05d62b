/* SPDX-License-Identifier: Apache-2.0 */
/* General, x87, SSE and (if there) AVX registers, MXCSR, the x87 control word,
 * flags and the FS/GS bases of a thread that spins in user space the whole time. */
#include "kind.h"
#include <asm/prctl.h>
#include <cpuid.h>
#include <pthread.h>

struct state {
	uint64_t gpr[8]; /* r8-r15 */
	uint64_t xmm[16][2];
	uint64_t ymm[16][4];
	uint32_t mxcsr;
	uint16_t fcw;
	uint64_t flags;
	double st0;
};

static volatile int spinning, stop;
static uint64_t tls_of_thread, gs_area[4];

/* Loads registers, spins until stop is set, stores them: no call, no system call. */
static void spin(const struct state *in, struct state *out, bool avx)
{
	static const uint32_t mxcsr = 0x1f80 | 0x6000; /* round to zero */
	static const uint16_t fcw = 0x0f7f;
	uint64_t number = 0x1122334455667788;

	__asm__ volatile("fldcw %0; ldmxcsr %1; fldl %2" : : "m"(fcw), "m"(mxcsr), "m"(in->st0));
	if (avx)
		__asm__ volatile("vmovdqu (%0), %%ymm8; vmovdqu 32(%0), %%ymm15" : : "r"(&in->ymm[8])
		                 : "xmm8", "xmm15");
	__asm__ volatile(
		"mov 0(%[in]), %%r8\n mov 8(%[in]), %%r9\n mov 16(%[in]), %%r10\n"
		"mov 24(%[in]), %%r11\n mov 32(%[in]), %%r12\n mov 40(%[in]), %%r13\n"
		"mov 48(%[in]), %%r14\n mov 56(%[in]), %%r15\n"
		"movdqu 64(%[in]), %%xmm0\n movdqu 80(%[in]), %%xmm7\n"
		"std\n"
		"movl $1, %[spinning]\n"
		"1: pause\n cmpl $0, %[stop]\n je 1b\n"
		"mov %%r8, 0(%[out])\n mov %%r9, 8(%[out])\n mov %%r10, 16(%[out])\n"
		"mov %%r11, 24(%[out])\n mov %%r12, 32(%[out])\n mov %%r13, 40(%[out])\n"
		"mov %%r14, 48(%[out])\n mov %%r15, 56(%[out])\n"
		"movdqu %%xmm0, 64(%[out])\n movdqu %%xmm7, 80(%[out])\n"
		"pushfq\n pop %[number]\n cld\n"
		: [number] "+b"(number), [spinning] "=m"(spinning)
		: [in] "S"(in), [out] "D"(out), [stop] "m"(stop)
		: "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm7", "memory", "cc");
	out->flags = number;
	if (avx)
		__asm__ volatile("vmovdqu %%ymm8, (%0); vmovdqu %%ymm15, 32(%0); vzeroupper"
		                 : : "r"(&out->ymm[8]) : "memory");
	__asm__ volatile("fnstcw %0; stmxcsr %1; fstpl %2"
	                 : "=m"(out->fcw), "=m"(out->mxcsr), "=m"(out->st0));
	__asm__ volatile("fninit");
}

static bool has_avx(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_AVX) && (c & bit_OSXSAVE);
}

static void *run(void *arg)
{
	static struct state in, out;
	bool avx = has_avx();
	uint64_t value;

	for (unsigned i = 0; i < sizeof(in.gpr) / 8; i++)
		in.gpr[i] = 0x0101010101010101 * (i + 3);
	memset(in.xmm, 0x5a, sizeof(in.xmm));
	in.xmm[1][0] = 0xfeedfacecafebeef;
	memset(in.ymm, 0xa5, sizeof(in.ymm));
	in.ymm[8][3] = 0x123456789abcdef0;
	in.st0 = 3.141592653589793;
	gs_area[1] = 0x77;
	CHECK(!syscall(SYS_arch_prctl, ARCH_SET_GS, gs_area));
	CHECK(!syscall(SYS_arch_prctl, ARCH_GET_FS, &tls_of_thread));
	spin(&in, &out, avx);
	CHECK(!memcmp(in.gpr, out.gpr, sizeof(in.gpr)));
	CHECK(!memcmp(in.xmm, out.xmm, 32));
	CHECK(!avx || !memcmp(&in.ymm[8], &out.ymm[8], 64));
	CHECK(in.st0 == out.st0);
	CHECK_EQ(out.fcw, 0x0f7f);
	CHECK_EQ(out.mxcsr & ~0x3fu, 0x1f80 | 0x6000);
	CHECK_EQ(out.flags & 0x400, 0x400);
	CHECK(!syscall(SYS_arch_prctl, ARCH_GET_FS, &value));
	CHECK_EQ(value, tls_of_thread);
	CHECK(!syscall(SYS_arch_prctl, ARCH_GET_GS, &value));
	CHECK_EQ(value, (uintptr_t)gs_area);
	__asm__("mov %%gs:8, %0" : "=r"(value));
	CHECK_EQ(value, 0x77);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	kind_init(argc, argv);
	CHECK(!pthread_create(&thread, NULL, run, NULL));
	kind_until(&spinning, 1);
	kind_ready();
	stop = 1;
	CHECK(!pthread_join(thread, NULL));
	kind_pass();
}
