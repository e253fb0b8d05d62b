/* SPDX-License-Identifier: Apache-2.0 */
/* The way back of an orphan, step by step: the application's registers and mask in the end, and
 * its stack pointer at every instruction at which a handler could run. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include "core/task/arch/x86_64.h"
#include "parasite/blob.h"

#define STEPS 200
#define FLAGS 0xcd5ul /* carry, parity, adjust, zero, sign, direction, overflow */
#define TRAP 0x100ul
#define BIT(signo) (1ull << ((signo) - 1))
/* A step is told by SIGTRAP, which would be opened if it were blocked. */
static const uint64_t open_mask = BIT(SIGUSR2);
static const uint64_t blocked = ~(BIT(SIGKILL) | BIT(SIGSTOP) | BIT(SIGTRAP));

/* In a shared page: code, frame, and what stands for the application's next instruction. */
struct page { uint8_t code[512]; struct frame frame; uint8_t application[64]; };

/* A process that waits for us with all signals blocked. */
static pid_t make_orphan(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(1);
	}
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	assert_int_equal(ptrace(PTRACE_SETSIGMASK, pid, sizeof(blocked), &blocked), 0);
	return pid;
}

static arch_regs made_up(const arch_regs *real, uint64_t ip)
{
	arch_regs r = *real;

	r.rax = (uint64_t)-RESTART_BLOCK;
	r.rbx = 0x101, r.rcx = 0x102, r.rdx = 0x103, r.rsi = 0x104, r.rdi = 0x105, r.rbp = 0x106;
	r.r8 = 0x108, r.r9 = 0x109, r.r10 = 0x10a, r.r11 = 0x10b, r.r12 = 0x10c, r.r13 = 0x10d;
	r.r14 = 0x10e, r.r15 = 0x10f;
	r.orig_rax = SYS_nanosleep;
	r.rsp = 0x7000;
	r.rip = ip;
	r.eflags |= FLAGS;
	return r;
}

static void step(pid_t pid, arch_regs *regs, uint64_t *mask)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(WSTOPSIG(status), SIGTRAP);
	assert_int_equal(ptrace(PTRACE_GETREGS, pid, NULL, regs), 0);
	assert_int_equal(ptrace(PTRACE_GETSIGMASK, pid, sizeof(*mask), mask), 0);
}

static void come_back(enum comeback how)
{
	struct page *page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE | PROT_EXEC,
	                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = (assert_ptr_not_equal(page, MAP_FAILED), make_orphan());
	const uint64_t ip = (uint64_t)(uintptr_t)page->application + 2;
	uint8_t *code = page->code + sizeof(page->code) - interpreter_return_size;
	uint64_t mask = blocked;
	arch_regs regs, want, led;
	bool last_call = false;

	assert_true(interpreter_return_size <= sizeof(page->code));
	assert_int_equal(ptrace(PTRACE_GETREGS, pid, NULL, &regs), 0);
	want = made_up(&regs, ip);
	memcpy(code, interpreter_return, interpreter_return_size);
	arch_fill_frame(&page->frame, &want, open_mask);
	regs.rip = (uint64_t)(uintptr_t)code;
	regs.rdi = how;
	arch_clear_syscall(&regs);
	assert_int_equal(ptrace(PTRACE_SETREGS, pid, NULL, &regs), 0);
	for (int i = 0; regs.rip != ip && regs.rip != ip - 2; i++) {
		assert_true(i < STEPS);
		step(pid, &regs, &mask);
		if (mask != blocked)
			assert_int_equal(regs.rsp, want.rsp);
		if (mask != blocked && !last_call) { /* an heir leads it from here on */
			assert_int_equal(arch_way_back(&regs), (uint64_t)(uintptr_t)&page->frame);
			led = regs;
			arch_come_back(&led, &page->frame);
			last_call = true;
		}
	}
	assert_true(last_call);
	assert_int_equal(mask, open_mask);
	want.rax = how == COME_BACK ? want.rax : how == COME_AGAIN ? SYS_restart_syscall :
	           (uint64_t)-EINTR;
	want.rip = how == COME_AGAIN ? ip - 2 : ip;
	arch_clear_syscall(&want);
	arch_clear_syscall(&regs);
	regs.eflags &= ~TRAP;
	assert_memory_equal(&regs, &want, sizeof(want));
	assert_memory_equal(&led, &want, sizeof(want));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap(page, sizeof(*page));
}

static void test_as_it_was(void **state)
{
	come_back(COME_BACK);
}

static void test_interrupted(void **state)
{
	come_back(COME_INTERRUPTED);
}

static void test_again(void **state)
{
	come_back(COME_AGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_it_was),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
