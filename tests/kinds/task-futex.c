/* SPDX-License-Identifier: Apache-2.0 */
/* Futexes held and waited for: mutexes that inherit priority, of threads and of
 * processes; robust ones; a condition and a semaphore in shared memory; with a timeout. */
#include "kind.h"
#include <pthread.h>
#include <semaphore.h>

struct shared {
	pthread_mutex_t pi, robust_pi, plain;
	pthread_cond_t cond;
	sem_t sem, timed;
	volatile int step[8];
};

static struct shared *s;
static pthread_mutex_t local;
static volatile int waiting;

static void init(pthread_mutex_t *m, int protocol, int shared, int robust)
{
	pthread_mutexattr_t a;

	CHECK(!pthread_mutexattr_init(&a) && !pthread_mutexattr_setprotocol(&a, protocol));
	CHECK(!pthread_mutexattr_setpshared(&a, shared) && !pthread_mutexattr_setrobust(&a, robust));
	CHECK(!pthread_mutex_init(m, &a));
}

static void *wait_local(void *arg)
{
	waiting = gettid();
	CHECK(!pthread_mutex_lock(&local));
	CHECK(!pthread_mutex_unlock(&local));
	return NULL;
}

static int wait_pi(void *arg)
{
	CHECK(!pthread_mutex_lock(&s->pi));
	CHECK(!pthread_mutex_unlock(&s->pi));
	CHECK_EQ(pthread_mutex_lock(&s->robust_pi), EOWNERDEAD);
	CHECK(!pthread_mutex_consistent(&s->robust_pi) && !pthread_mutex_unlock(&s->robust_pi));
	return 0;
}

static int hold_robust(void *arg)
{
	CHECK(!pthread_mutex_lock(&s->robust_pi));
	s->step[0] = 1;
	kind_wait();
	kind_until(&s->step[1], 1);
	return 0; /* with the mutex */
}

static int wait_cond(void *arg)
{
	CHECK(!pthread_mutex_lock(&s->plain));
	while (!s->step[2])
		CHECK(!pthread_cond_wait(&s->cond, &s->plain));
	CHECK(!pthread_mutex_unlock(&s->plain));
	return 0;
}

static int wait_sem(void *arg)
{
	struct timespec far;

	clock_gettime(CLOCK_REALTIME, &far);
	far.tv_sec += 1000;
	while (sem_wait(&s->sem) < 0)
		CHECK_EQ(errno, EINTR);
	while (sem_timedwait(&s->timed, &far) < 0)
		CHECK_EQ(errno, EINTR);
	return 0;
}

int main(int argc, char **argv)
{
	pthread_condattr_t ca;
	pthread_t thread;
	pid_t pid[4];

	kind_init(argc, argv);
	s = kind_shared(4096);
	init(&s->pi, PTHREAD_PRIO_INHERIT, 1, PTHREAD_MUTEX_STALLED);
	init(&s->robust_pi, PTHREAD_PRIO_INHERIT, 1, PTHREAD_MUTEX_ROBUST);
	init(&s->plain, PTHREAD_PRIO_NONE, 1, PTHREAD_MUTEX_STALLED);
	init(&local, PTHREAD_PRIO_INHERIT, 0, PTHREAD_MUTEX_STALLED);
	CHECK(!pthread_condattr_init(&ca) && !pthread_condattr_setpshared(&ca, 1));
	CHECK(!pthread_cond_init(&s->cond, &ca) && !sem_init(&s->sem, 1, 0) && !sem_init(&s->timed, 1, 0));
	CHECK(!pthread_mutex_lock(&s->pi) && !pthread_mutex_lock(&local));
	CHECK(!pthread_create(&thread, NULL, wait_local, NULL));
	pid[0] = kind_fork(hold_robust, NULL);
	kind_until(&s->step[0], 1);
	pid[1] = kind_fork(wait_pi, NULL);
	pid[2] = kind_fork(wait_cond, NULL);
	pid[3] = kind_fork(wait_sem, NULL);
	for (int i = 0; !waiting && i < 10000; i++)
		kind_sleep_ms(1);
	kind_until_state(getpid(), waiting, 'S');
	for (int i = 1; i < 4; i++)
		kind_until_state(pid[i], pid[i], 'S');
	kind_ready();

	CHECK(!pthread_mutex_unlock(&local) && !pthread_join(thread, NULL));
	CHECK(!pthread_mutex_unlock(&s->pi));
	s->step[1] = 1;
	kind_join(pid[0]);
	kind_join(pid[1]);
	CHECK(!pthread_mutex_lock(&s->plain));
	s->step[2] = 1;
	CHECK(!pthread_cond_signal(&s->cond) && !pthread_mutex_unlock(&s->plain));
	kind_join(pid[2]);
	CHECK(!sem_post(&s->sem) && !sem_post(&s->timed));
	kind_join(pid[3]);
	kind_pass();
}
