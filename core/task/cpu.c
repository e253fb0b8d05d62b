/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processor features. A program chooses its code by them once and for all (libc
 * does so at start), so it may only go on where all that it could have seen is
 * there. Layout of the bytes: struct features, little endian.
 */
#include <cpuid.h>
#include <stdbool.h>
#include <sys/platform/x86.h>
#include "core/task/machine.h"
#include "core/util/util.h"

enum { L1_C, L1_D, L7_B, L7_C, L7_D, L71_A, LX1_C, LX1_D, LD1_A, NWORDS };

struct features {
	uint32_t word[NWORDS];  /* feature words of cpuid */
	uint32_t xsave_size;    /* bytes, of all enabled components */
	uint64_t xcr0;          /* state components that the kernel has enabled */
};

static const char *const word_name[NWORDS] = {
	"1:ecx", "1:edx", "7:ebx", "7:ecx", "7:edx", "7.1:eax", "80000001:ecx", "80000001:edx",
	"d.1:eax",
};

/* Bits that say how this one processor is set up, not what programs can use. */
static const uint32_t ignored[NWORDS] = {
	[L1_C] = 1u << 31 /* hypervisor */ | 1u << 3 /* monitor */ | 1u << 5 /* vmx */ | 1u << 15,
	[L7_C] = 1u << 4 /* ospke follows the kernel: see xcr0 */,
	[L7_D] = 0xfc000000u /* speculation controls */ | 1u << 10 | 1u << 8,
	[LX1_C] = 1u << 2 /* svm */,
};

static const struct { uint8_t word, bit; const char *name; } names[] = {
	{ L1_C, 0, "sse3" }, { L1_C, 9, "ssse3" }, { L1_C, 12, "fma" }, { L1_C, 19, "sse4.1" },
	{ L1_C, 20, "sse4.2" }, { L1_C, 22, "movbe" }, { L1_C, 23, "popcnt" }, { L1_C, 25, "aes" },
	{ L1_C, 28, "avx" }, { L1_C, 29, "f16c" }, { L1_C, 30, "rdrand" }, { L7_B, 3, "bmi1" },
	{ L7_B, 5, "avx2" }, { L7_B, 8, "bmi2" }, { L7_B, 9, "erms" }, { L7_B, 16, "avx512f" },
	{ L7_B, 17, "avx512dq" }, { L7_B, 29, "sha" }, { L7_B, 30, "avx512bw" },
	{ L7_B, 31, "avx512vl" }, { L7_C, 1, "avx512vbmi" }, { L7_C, 3, "pku" },
	{ L7_C, 11, "avx512vnni" }, { L7_D, 24, "amx-tile" }, { L71_A, 5, "avx512bf16" },
	{ LD1_A, 1, "xsavec" }, { LD1_A, 3, "xsaves" },
};

static const uint32_t *leaf(unsigned index)
{
	return __x86_get_cpuid_feature_leaf(index)->cpuid_array;
}

/* In a virtual machine each cpuid goes to the one outside (4 to 20 us): libc has made them all
 * but one. Leaves that a processor has not got are zero there. */
static void read_features(struct features *f)
{
	enum { A, B, C, D };
	uint32_t a, c, d, lo, hi;
	const uint32_t *l1 = leaf(CPUID_INDEX_1), *l7 = leaf(CPUID_INDEX_7);

	*f = (struct features){ .word = {
		[L1_C] = l1[C], [L1_D] = l1[D], [L7_B] = l7[B], [L7_C] = l7[C], [L7_D] = l7[D],
		[L71_A] = leaf(CPUID_INDEX_7_ECX_1)[A],
		[LX1_C] = leaf(CPUID_INDEX_80000001)[C], [LX1_D] = leaf(CPUID_INDEX_80000001)[D],
	} };
	if (l1[C] & (1u << 27)) { /* OSXSAVE */
		__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
		f->xcr0 = (uint64_t)hi << 32 | lo;
		__cpuid_count(0xd, 0, a, f->xsave_size, c, d);
		f->word[LD1_A] = leaf(CPUID_INDEX_D_ECX_1)[A];
	}
	for (int i = 0; i < NWORDS; i++)
		f->word[i] &= ~ignored[i];
}

int cpu_features(ProtobufCBinaryData *ret, struct crcore_error *err)
{
	struct features *f = malloc(sizeof(*f));

	if (!f)
		return crcore_no_memory(err);
	read_features(f);
	ret->data = (uint8_t *)f;
	ret->len = sizeof(*f);
	return 0;
}

static void name_feature(int word, int bit, char *ret, size_t len)
{
	size_t used = strlen(ret);
	const char *sep = used ? ", " : "";

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].word == word && names[i].bit == bit) {
			snprintf(ret + used, len - used, "%s%s", sep, names[i].name);
			return;
		}
	snprintf(ret + used, len - used, "%scpuid %s bit %d", sep, word_name[word], bit);
}

int cpu_check(const ProtobufCBinaryData *image, struct crcore_error *err)
{
	struct features here, there;
	char missing[256] = "";

	if (image->len != sizeof(there))
		return crcore_fail(err, -EBADMSG, "the image's list of processor features is damaged");
	memcpy(&there, image->data, sizeof(there));
	read_features(&here);
	for (int w = 0; w < NWORDS; w++)
		for (int bit = 0; bit < 32; bit++)
			if ((there.word[w] & ~here.word[w]) >> bit & 1)
				name_feature(w, bit, missing, sizeof(missing));
	if (!missing[0] && (there.xcr0 & ~here.xcr0))
		snprintf(missing, sizeof(missing), "xsave components %#llx",
		         (unsigned long long)(there.xcr0 & ~here.xcr0));
	if (!missing[0])
		return 0;
	crcore_fail_at(err, -1, -1, "processor");
	crcore_advise(err, "restore on a processor that has all features of the first");
	return crcore_fail(err, -ENOTSUP, "this processor lacks what the programs may use: %s",
	                   missing);
}
