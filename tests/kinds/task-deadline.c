/* SPDX-License-Identifier: Apache-2.0 */
/* SCHED_DEADLINE of single threads: runtime, deadline, period and flags, of the leader too; they
 * work meanwhile. */
#include "kind.h"
#include <pthread.h>

struct attributes { /* sched_attr of sched_setattr(2) */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util[2];
};

#define DEADLINE 6
#define MS 1000000u

static const struct attributes settings[] = {
	{ sizeof(*settings), DEADLINE, 0, 0, 0, 2 * MS, 20 * MS, 40 * MS, { 0 } },
	{ sizeof(*settings), DEADLINE, 1 /* reset on fork */, 0, 0, MS, 10 * MS, 10 * MS, { 0 } },
	{ sizeof(*settings), DEADLINE, 2 /* reclaim */, 0, 0, 3 * MS, 50 * MS, 100 * MS, { 0 } },
	{ sizeof(*settings), DEADLINE, 4 /* SIGXCPU */, 0, 0, 5 * MS, 60 * MS, 60 * MS, { 0 } },
};
enum { N = sizeof(settings) / sizeof(*settings) };

static pthread_barrier_t ready;

static void set(const struct attributes *a)
{
	if (syscall(SYS_sched_setattr, 0, a, 0))
		kind_skip("SCHED_DEADLINE cannot be set: %s", strerror(errno));
}

static void check(const struct attributes *want)
{
	struct attributes now = { 0 };

	CHECK(!syscall(SYS_sched_getattr, 0, &now, sizeof(now), 0));
	CHECK_EQ(now.policy, want->policy);
	CHECK_EQ(now.flags, want->flags);
	CHECK_EQ(now.runtime, want->runtime);
	CHECK_EQ(now.deadline, want->deadline);
	CHECK_EQ(now.period, want->period);
}

static void *run(void *arg)
{
	set(arg);
	pthread_barrier_wait(&ready);
	while (!kind_over())
		kind_sleep_ms(5);
	check(arg);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[N];

	kind_init(argc, argv);
	signal(SIGXCPU, SIG_IGN);
	CHECK(!pthread_barrier_init(&ready, NULL, N));
	for (int i = 1; i < N; i++)
		CHECK(!pthread_create(&thread[i], NULL, run, (void *)(uintptr_t)&settings[i]));
	set(&settings[0]);
	pthread_barrier_wait(&ready);
	kind_busy();
	kind_ready();
	check(&settings[0]);
	for (int i = 1; i < N; i++)
		CHECK(!pthread_join(thread[i], NULL));
	kind_pass();
}
