/* SPDX-License-Identifier: Apache-2.0 */
/* Restartable sequences stay registered: the kernel goes on writing the processor's
 * number, for the leader and for a thread, and refuses a second registration. */
#include "kind.h"
#include <linux/rseq.h>
#include <pthread.h>
#include <sched.h>
#include <sys/rseq.h>

static volatile int ready;

static struct rseq *area(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

static void check(void)
{
	struct rseq other __attribute__((aligned(32))) = { 0 };
	cpu_set_t old, one;

	CHECK(!sched_getaffinity(0, sizeof(old), &old));
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &old))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		CHECK(!sched_setaffinity(0, sizeof(one), &one));
		CHECK_EQ(*(volatile uint32_t *)&area()->cpu_id, cpu);
	}
	CHECK(!sched_setaffinity(0, sizeof(old), &old));
	CHECK(syscall(SYS_rseq, &other, sizeof(other), 0, 0x53053053) < 0);
	CHECK(errno == EINVAL || errno == EBUSY);
}

static void *run(void *arg)
{
	check();
	ready = 1;
	kind_wait();
	check();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	kind_init(argc, argv);
	if (!__rseq_size)
		kind_skip("rseq is not registered here");
	check();
	CHECK(!pthread_create(&thread, NULL, run, NULL));
	kind_until(&ready, 1);
	kind_ready();
	check();
	CHECK(!pthread_join(thread, NULL));
	kind_pass();
}
