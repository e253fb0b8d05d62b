/* SPDX-License-Identifier: Apache-2.0 */
/* What is to be done on each of the 64 signals, as the kernel has it: handler, flags,
 * mask, restorer; a child with others. */
#include "kind.h"

/* The kernel's struct sigaction, which differs from that of libc. */
struct action {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

static volatile int *ready;

static void first(int sig)
{
}

static void second(int sig, siginfo_t *info, void *context)
{
}

static void all_of(struct action v[65])
{
	for (int s = 1; s <= 64; s++)
		CHECK(!syscall(SYS_rt_sigaction, s, NULL, &v[s], 8));
}

static void set_up(unsigned seed)
{
	static const unsigned flags[] = { SA_RESTART, SA_NODEFER, SA_RESETHAND, SA_ONSTACK,
	                                  SA_NOCLDSTOP, SA_NOCLDWAIT };

	for (int s = 1; s <= 64; s++) {
		struct sigaction sa = { .sa_handler = first };

		if (s == SIGKILL || s == SIGSTOP || s == 32 || s == 33)
			continue;
		seed = seed * 1103515245 + 12345;
		if (seed >> 16 & 1) {
			sa.sa_sigaction = second;
			sa.sa_flags = SA_SIGINFO;
		} else if (seed >> 17 & 1) {
			sa.sa_handler = seed >> 18 & 1 ? SIG_IGN : SIG_DFL;
		}
		sa.sa_flags |= (int)flags[(seed >> 19) % 6];
		sigaddset(&sa.sa_mask, 1 + (int)(seed >> 22) % 31);
		sigaddset(&sa.sa_mask, 34 + (int)(seed >> 25) % 30);
		CHECK(!sigaction(s, &sa, NULL));
	}
}

static int child(void *arg)
{
	struct action before[65] = { 0 }, after[65] = { 0 };

	set_up((unsigned)(long)arg);
	all_of(before);
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	all_of(after);
	for (int s = 1; s <= 64; s++)
		if (memcmp(&before[s], &after[s], sizeof(*before)))
			kind_fail("the action of signal %d differs: handler %p, was %p; flags %#lx, was %#lx",
			          s, after[s].handler, before[s].handler, after[s].flags, before[s].flags);
	return 0;
}

int main(int argc, char **argv)
{
	pid_t pid[3];

	kind_init(argc, argv);
	ready = kind_shared(4096);
	for (long i = 0; i < 3; i++)
		pid[i] = kind_fork(child, (void *)(i * 77 + 1));
	kind_until(ready, 3);
	kind_ready();
	for (int i = 0; i < 3; i++)
		kind_join(pid[i]);
	kind_pass();
}
