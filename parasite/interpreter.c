/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter: executes a task program inside the task (program.h).
 *
 * It runs in a place that is not its own, on a stack of a few hundred bytes,
 * with all signals blocked, without libc, without data of its own, and with the
 * thread pointer, FPU and vector registers of the application. Hence the rules:
 *  - no globals, no relocations (the build checks both);
 *  - no wait with a timeout on dump: that would overwrite the kernel's note of how
 *    the application's interrupted call goes on (restart_syscall(2)). On restore there
 *    is none yet, and waiters look up once a second: the one waiter that the kernel
 *    wakes when the coordinator dies may itself be killed before it wakes the others;
 *  - everything in the region may be changed by the coordinator while we wait.
 */
#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>
#include "program.h"
#define CRCORE_INTERPRETER 1
#include "arch/x86_64.h"

enum {
	E_AGAIN = 11, E_INTR = 4, E_IO = 5, E_CANCELED = 125, E_TIMEDOUT = 110,
	CLOCK_MONOTONIC = 1,
	OWNER_DIED = 0x40000000,           /* FUTEX_OWNER_DIED */
	WAKE = 1, WAIT = 0, SIZE_32 = 2,   /* FUTEX_WAKE, FUTEX_WAIT, FUTEX2_SIZE_U32 */
	ALL = 0x7fffffff,
	SIGNALS = 64, RESTART_FLAG = 0x10000000, /* SA_RESTART */
	ORPHAN_STATUS = 137,
};

#define NR_FUTEX_WAITV 449

struct waitv { uint64_t val, uaddr; uint32_t flags, reserved; };
struct action { uint64_t handler, flags, restorer, mask; };

#define CALL0(nr) arch_call(nr, 0, 0, 0, 0, 0, 0)
#define CALL(nr, a, b, c, d) \
	arch_call(nr, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), 0, 0)

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void wake(uint32_t *word)
{
	CALL(__NR_futex, (uintptr_t)word, WAKE, ALL, 0);
}

/* Waits until one of the words is no longer as it was seen. May return early. */
static void wait_words(const struct program *p, uint32_t *const *word, const uint32_t *seen,
                       uint32_t n)
{
	struct waitv v[3];
	struct { int64_t s, ns; } until;
	uint64_t timeout = 0;
	int64_t r;

	for (uint32_t i = 0; i < n; i++)
		v[i] = (struct waitv){ seen[i], (uintptr_t)word[i], SIZE_32, 0 };
	if (p->orphan == ORPHAN_EXIT) {
		CALL(__NR_clock_gettime, CLOCK_MONOTONIC, (uintptr_t)&until, 0, 0);
		until.s++;
		timeout = (uintptr_t)&until;
	}
	r = arch_call(NR_FUTEX_WAITV, (uintptr_t)v, n, 0, timeout, CLOCK_MONOTONIC, 0);
	if (r >= 0 || r == -E_AGAIN || r == -E_INTR || r == -E_TIMEDOUT)
		return;
	/* Not known here, or no memory: of the first word only, so on dump orphans wait on. */
	until.s = 1;
	until.ns = 0;
	CALL(__NR_futex, (uintptr_t)word[0], WAIT, seen[0], timeout);
}

/* ---- without a coordinator ------------------------------------------------------ */

/* The action of the first signal that will be handled once the mask is back. */
static int due_handler(const struct frame *f, struct action *ret)
{
	uint64_t pending = 0;

	CALL(__NR_rt_sigpending, (uintptr_t)&pending, 8, 0, 0);
	pending &= ~f->sigmask;
	for (int sig = 1; sig <= SIGNALS; sig++)
		if ((pending >> (sig - 1) & 1) &&
		    CALL(__NR_rt_sigaction, sig, 0, (uintptr_t)ret, 8) == 0 && ret->handler > 1)
			return 1;
	return 0;
}

/* An interrupted system call goes on, or ends, as the kernel would have it; bare: goes on. */
static enum comeback settle_call(const struct frame *f, int bare)
{
	struct action a;
	int64_t r = arch_frame_result(f);
	int handled;

	if (r != -RESTART_SYS && r != -RESTART_NOINTR && r != -RESTART_NOHAND && r != -RESTART_BLOCK)
		return COME_BACK;
	handled = !bare && r != -RESTART_NOINTR && due_handler(f, &a);
	return handled && !(r == -RESTART_SYS && (a.flags & RESTART_FLAG)) ? COME_INTERRUPTED :
	       COME_AGAIN;
}

static int orphaned(const struct region *r)
{
	return (load(&r->life[0]) & OWNER_DIED) != 0;
}

/* Closes what the program has opened, say: operations that use nothing but results. */
static void undo(const struct program *p)
{
	struct op *ops = (struct op *)(uintptr_t)p->ops;

	for (uint32_t i = p->undo; i && i < p->nops; i++) {
		const struct op *used = &ops[ops[i].arg[0]];
		if (ops[i].code == OP_SYSCALL && !(ops[i].flags & OP_DONE) && ops[i].result_args == 1 &&
		    (used->flags & OP_DONE) && used->result >= 0)
			CALL(ops[i].nr, used->result, 0, 0, 0);
	}
}

static _Noreturn void leave(struct program *p, struct region *r)
{
	__atomic_store_n(&p->state, PROGRAM_LEFT, __ATOMIC_RELEASE);
	wake(&r->life[0]);
	if (p->orphan != ORPHAN_EXIT) {
		const struct frame *f = (const struct frame *)(uintptr_t)p->frame;
		if (p->orphan == ORPHAN_RETURN)
			undo(p);
		come_back(f, settle_call(f, p->orphan == ORPHAN_RETURN_BARE));
	}
	for (;;)
		CALL(__NR_exit_group, ORPHAN_STATUS, 0, 0, 0);
}

/* ---- operations -------------------------------------------------------------------- */

static int64_t wait_at_least(struct program *p, struct region *r, uint32_t *at, uint32_t want)
{
	uint32_t *const word[3] = { at, &r->failed, &r->life[0] };
	uint32_t seen[3];

	for (;;) {
		for (int i = 0; i < 3; i++)
			seen[i] = load(word[i]);
		if (seen[2] & OWNER_DIED)
			leave(p, r);
		if (seen[0] >= want)
			return 0;
		if (seen[1])
			return -E_CANCELED;
		wait_words(p, word, seen, 3);
	}
}

static int64_t post(uint32_t *at, uint32_t n)
{
	__atomic_add_fetch(at, n, __ATOMIC_ACQ_REL);
	wake(at);
	return 0;
}

/* What is stored need not be aligned: kernel structs pack their fields. */
static int64_t store(uint64_t at, uint64_t value, uint64_t size)
{
	typedef uint32_t word __attribute__((aligned(1)));
	word *to = (word *)(uintptr_t)at;

	to[0] = (uint32_t)value;
	if (size == 8)
		to[1] = (uint32_t)(value >> 32);
	return 0;
}

static void finish(struct program *p, struct region *r, uint32_t state)
{
	__atomic_store_n(&p->state, state, __ATOMIC_RELEASE);
	if (__atomic_add_fetch(&r->done, 1, __ATOMIC_ACQ_REL) >= load(&r->done_want) ||
	    state == PROGRAM_FAILED)
		wake(&r->done);
}

/* The end of the task itself: the program counts as done before it. */
static _Noreturn void end(struct program *p, struct region *r, struct op *op, uint64_t status,
                          uint64_t sig)
{
	uint64_t set = sig ? 1ULL << (sig - 1) : 0;

	op->result = 0;
	__atomic_or_fetch(&op->flags, OP_DONE, __ATOMIC_RELEASE);
	finish(p, r, PROGRAM_DONE);
	if (sig) {
		CALL(__NR_rt_sigprocmask, 1 /* SIG_UNBLOCK */, (uintptr_t)&set, 0, 8);
		CALL(__NR_kill, CALL0(__NR_getpid), sig, 0, 0);
	}
	for (;;)
		CALL(__NR_exit_group, status, 0, 0, 0);
}

static int64_t execute(struct program *p, struct region *r, struct op *op, struct op *ops)
{
	uint64_t a[6];

	for (int i = 0; i < 6; i++)
		a[i] = op->result_args >> i & 1 ? (uint64_t)ops[op->arg[i]].result : op->arg[i];
	switch (op->code) {
	case OP_SYSCALL:
		return arch_call(op->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	case OP_SPAWN:
		return arch_spawn(a[0], a[1], a[2]);
	case OP_WAIT:
		return wait_at_least(p, r, (uint32_t *)(uintptr_t)a[0], (uint32_t)a[1]);
	case OP_POST:
		return post((uint32_t *)(uintptr_t)a[0], (uint32_t)a[1]);
	case OP_LOAD:
		return *(const int64_t *)(uintptr_t)a[0];
	case OP_STORE:
		return store(a[0], a[1], a[2]);
	case OP_EXIT:
		end(p, r, op, a[0], a[1]);
	default:
		return -E_IO;
	}
}

static int as_expected(const struct op *op, int64_t result)
{
	if (op->code == OP_WAIT && result < 0)
		return 0;
	return op->expect == EXPECT_EQUAL ? result == op->want :
	       op->expect == EXPECT_OK ? result >= 0 || result < -4095 : 1;
}

static void run(struct program *p, struct region *r)
{
	struct op *ops = (struct op *)(uintptr_t)p->ops;

	for (uint32_t i = 0; i < p->nops; i++) {
		struct op *op = &ops[i];
		int fail = op->flags & OP_FAIL;
		uint32_t none = 0;

		if (orphaned(r))
			leave(p, r);
		op->result = fail ? -E_IO : execute(p, r, op, ops);
		__atomic_or_fetch(&op->flags, OP_DONE, __ATOMIC_RELEASE);
		if (!fail && as_expected(op, op->result))
			continue;
		p->failed_op = i;
		if (__atomic_compare_exchange_n(&r->failed, &none, 1 + p->id, 0, __ATOMIC_ACQ_REL,
		                                __ATOMIC_RELAXED))
			wake(&r->failed);
		finish(p, r, PROGRAM_FAILED);
		return;
	}
	finish(p, r, PROGRAM_DONE);
}

_Noreturn void interpret(struct program *p) __attribute__((visibility("hidden"), used));
_Noreturn void interpret(struct program *p)
{
	struct region *r = (struct region *)(uintptr_t)p->region;
	uint32_t *const word[2] = { &p->state, &r->life[0] };
	uint32_t seen[2];

	for (;;) {
		seen[0] = load(word[0]);
		seen[1] = load(word[1]);
		if (seen[1] & OWNER_DIED)
			leave(p, r);
		if (seen[0] == PROGRAM_RUN)
			run(p, r);
		else
			wait_words(p, word, seen, 2);
	}
}
