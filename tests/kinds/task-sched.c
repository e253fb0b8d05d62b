/* SPDX-License-Identifier: Apache-2.0 */
/* Scheduling of single threads: policy, priority, nice value, reset-on-fork, affinity,
 * I/O priority, timer slack. */
#include "kind.h"
#include <linux/ioprio.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

struct setting {
	int policy, priority, nice, cpu, ioprio;
	unsigned long slack;
};

/* IOPRIO_PRIO_VALUE() of newer headers is a function, which no initializer may call */
#define IOPRIO(class, level) (IOPRIO_CLASS_##class << IOPRIO_CLASS_SHIFT | (level))

static const struct setting settings[] = {
	{ SCHED_OTHER, 0, 7, 0, IOPRIO(BE, 2), 50000 },
	{ SCHED_BATCH, 0, -3, 1, IOPRIO(IDLE, 0), 1 },
	{ SCHED_IDLE, 0, 19, 0, IOPRIO(BE, 7), 123456789 },
	{ SCHED_RR, 5, 0, 1, IOPRIO(RT, 4), 50000 },
	{ SCHED_FIFO | SCHED_RESET_ON_FORK, 1, 0, 0, IOPRIO(BE, 4), 50000 },
	{ SCHED_OTHER | SCHED_RESET_ON_FORK, 0, -20, 1, IOPRIO(BE, 0), 50000 },
};
enum { N = sizeof(settings) / sizeof(*settings) };

static pthread_barrier_t ready;
static int ncpu;

static void *run(void *arg)
{
	const struct setting *s = arg;
	struct sched_param param = { .sched_priority = s->priority };
	int policy = s->policy & ~SCHED_RESET_ON_FORK;
	cpu_set_t set, now;

	CPU_ZERO(&set);
	CPU_SET(s->cpu % ncpu, &set);
	CHECK(!sched_setaffinity(0, sizeof(set), &set));
	CHECK(!prctl(PR_SET_TIMERSLACK, s->slack));
	CHECK(!syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, s->ioprio));
	CHECK(!setpriority(PRIO_PROCESS, 0, s->nice));
	if (sched_setscheduler(0, s->policy, &param))
		kind_skip("scheduling policy %d cannot be set: %s", s->policy, strerror(errno));
	pthread_barrier_wait(&ready);
	kind_wait();
	CHECK_EQ(sched_getscheduler(0), s->policy);
	CHECK(!sched_getparam(0, &param));
	CHECK_EQ(param.sched_priority, s->priority);
	if (policy == SCHED_OTHER || policy == SCHED_BATCH)
		CHECK_EQ(getpriority(PRIO_PROCESS, 0), s->nice);
	CHECK(!sched_getaffinity(0, sizeof(now), &now));
	CHECK(CPU_EQUAL(&now, &set));
	CHECK_EQ(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0), s->ioprio);
	if (policy != SCHED_FIFO && policy != SCHED_RR) /* the kernel gives those none */
		CHECK_EQ(prctl(PR_GET_TIMERSLACK), s->slack);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[N];

	kind_init(argc, argv);
	ncpu = (int)sysconf(_SC_NPROCESSORS_ONLN);
	CHECK(!pthread_barrier_init(&ready, NULL, N + 1));
	for (int i = 0; i < N; i++)
		CHECK(!pthread_create(&thread[i], NULL, run, (void *)&settings[i]));
	pthread_barrier_wait(&ready);
	kind_ready();
	CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
	CHECK_EQ(getpriority(PRIO_PROCESS, 0), 0);
	for (int i = 0; i < N; i++)
		CHECK(!pthread_join(thread[i], NULL));
	kind_pass();
}
