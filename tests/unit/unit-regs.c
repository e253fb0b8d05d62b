/* SPDX-License-Identifier: Apache-2.0 */
/* What a thread's registers at a stop say of the system call that it is in: of one that is
 * stopped again just before it continues a sleep. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/task/arch/x86_64.h"
#include "core/task/stops.h"
#include "core/task/task.h"
#include "core/util/util.h"

/* Two calls in a row, a third alone; at the beginning of a page that nothing is before.
 * Then one whose number is loaded by the instruction before. */
static const uint8_t code[] = { 0x0f, 0x05, 0x0f, 0x05, 0x90, 0x90, 0x0f, 0x05,
	                        0xb8, SYS_nanosleep, 0, 0, 0, 0x0f, 0x05 };
enum { SECOND = 2, BEHIND = 4, ALONE = 6, NAP = 15 };
static uint8_t *place;

struct sleeper { pid_t pid; struct thread thread; arch_regs asleep; };

/* Sleeps for a moment, and ends with 0 if it was let. */
static _Noreturn void nap(void)
{
	struct timespec t = { 1, 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	_exit((int)-syscall(SYS_nanosleep, &t, &t));
}

static void stop(struct sleeper *s)
{
	int status;

	assert_int_equal(ptrace(PTRACE_INTERRUPT, s->pid, NULL, NULL), 0);
	assert_int_equal(waitpid(s->pid, &status, __WALL), s->pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(ptrace(PTRACE_GETREGS, s->pid, NULL, &s->asleep), 0);
}

static int set_up(void **state)
{
	struct sleeper *s = calloc(1, sizeof(*s));

	place = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(place, PAGE);
	memcpy(place += PAGE, code, sizeof(code));
	s->pid = fork();
	if (s->pid == 0)
		nap();
	s->thread.tid = s->pid;
	*state = s;
	assert_int_equal(ptrace(PTRACE_SEIZE, s->pid, NULL, NULL), 0);
	while (stop(s), arch_result(&s->asleep) != -ERESTART_RESTARTBLOCK) /* until it sleeps */
		assert_int_equal(ptrace(PTRACE_CONT, s->pid, NULL, NULL), 0);
	return 0;
}

static int tear_down(void **state)
{
	struct sleeper *s = *state;

	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, __WALL);
	munmap(place, PAGE);
	free(s);
	return 0;
}

/* What is read of a thread with these. */
static arch_regs seen(struct sleeper *s, uint64_t ip, int64_t result)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	arch_regs regs = s->asleep;

	arch_set_ip(&regs, ip);
	arch_set_result(&regs, result);
	assert_int_equal(ptrace(PTRACE_SETREGS, s->pid, NULL, &regs), 0);
	assert_int_equal(regs_read(&s->thread, &err), 0);
	return s->thread.regs;
}

static void assert_same(const arch_regs *a, const arch_regs *b)
{
	assert_memory_equal(a, b, sizeof(*a));
}

/* As the kernel leaves it when it has gone back. */
static void goes_on_with_its_sleep(void **state)
{
	struct sleeper *s = *state;
	arch_regs back = seen(s, arch_ip(&s->asleep) - ARCH_SYSCALL_INSN_SIZE, SYS_restart_syscall);
	int status;

	assert_same(&back, &s->asleep);
	assert_int_equal(ptrace(PTRACE_SETREGS, s->pid, NULL, &back), 0);
	assert_int_equal(ptrace(PTRACE_DETACH, s->pid, NULL, NULL), 0);
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void that_number_as_a_result(void **state)
{
	struct sleeper *s = *state;
	arch_regs at = seen(s, arch_ip(&s->asleep), SYS_restart_syscall);

	assert_int_equal(arch_ip(&at), arch_ip(&s->asleep));
	assert_int_equal(arch_result(&at), SYS_restart_syscall);
}

static void between_two_calls(void **state)
{
	struct sleeper *s = *state;
	const uint64_t start = (uint64_t)(uintptr_t)place;
	static const struct { unsigned at; bool rewound; } cases[] = {
		{ 0, true }, { SECOND, false }, { BEHIND, false }, { ALONE, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		arch_regs at = seen(s, start + cases[i].at, SYS_restart_syscall);
		const uint64_t ip = start + cases[i].at + (cases[i].rewound ? 2 : 0);
		assert_int_equal(arch_ip(&at), ip);
		assert_int_equal(arch_result(&at), cases[i].rewound ? -ERESTART_RESTARTBLOCK
		                                                    : SYS_restart_syscall);
	}
}

/* ---- nobody has seen the call begin that a restart_syscall continues ----------------------- */

static int told(struct sleeper *s, struct task *task, struct crcore_error *err)
{
	struct task *tasks[] = { task };
	struct tree tree = { .tasks = tasks, .ntasks = 1 };

	task->threads = &s->thread;
	task->nthreads = 1;
	s->thread.task = task;
	s->thread.stopped = true;
	s->thread.restarted_nr = -1;
	return restarts_tell(&tree, NULL, err);
}

static void call_by_its_code(void **state)
{
	struct sleeper *s = *state;
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct task task = { .proc = -1 };

	s->thread.regs = s->asleep;
	s->thread.regs.orig_rax = SYS_restart_syscall;
	arch_set_ip(&s->thread.regs, (uint64_t)(uintptr_t)place + NAP);
	assert_int_equal(told(s, &task, &err), 0);
	assert_int_equal(s->thread.restarted_nr, SYS_nanosleep);
}

/* The code is a function for all sorts of calls. It sleeps as before then. */
static void call_by_its_sleep(void **state)
{
	struct sleeper *s = *state;
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct task task = { .proc = proc_open(s->pid, &err) };
	arch_regs before;

	assert_true(task.proc >= 0);
	assert_int_equal(stop_options(s->pid, 0), 0);
	do {
		assert_int_equal(ptrace(PTRACE_CONT, s->pid, NULL, NULL), 0);
		stop(s);
	} while (arch_syscall(&s->asleep) != SYS_restart_syscall);
	before = seen(s, arch_ip(&s->asleep), arch_result(&s->asleep));
	assert_int_equal(told(s, &task, &err), 0);
	assert_int_equal(s->thread.restarted_nr, SYS_nanosleep);
	assert_same(&s->thread.regs, &before);
	close(task.proc);
}

/* One that nothing told is not saved as something else. */
static void unknown_call(void **state)
{
	static const int64_t calls[] = { -1, SYS_poll };
	struct sleeper *s = *state;
	struct task task = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		Crcore__Thread rec = CRCORE__THREAD__INIT;
		s->thread.task = &task;
		s->thread.rec = &rec;
		s->thread.regs = s->asleep;
		s->thread.regs.orig_rax = SYS_restart_syscall;
		s->thread.restarted_nr = calls[i];
		int r = thread_save_state(&s->thread, &err);
		assert_int_equal(r, calls[i] < 0 ? -EAGAIN : 0);
		if (r == 0) {
			assert_int_equal(rec.resume->nr, calls[i]);
			assert_int_equal(arch_syscall((const arch_regs *)rec.regs.data), calls[i]);
		}
		free(rec.regs.data);
		free(rec.xstate.data);
		if (rec.resume)
			free(rec.resume->args);
		free(rec.resume);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(goes_on_with_its_sleep), T(that_number_as_a_result), T(between_two_calls),
		T(call_by_its_code), T(call_by_its_sleep), T(unknown_call),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
