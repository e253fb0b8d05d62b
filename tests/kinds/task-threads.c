/* SPDX-License-Identifier: Apache-2.0 */
/* Threads keep their ids, stacks and thread-local variables, and can be joined. */
#include "kind.h"
#include <pthread.h>

enum { THREADS = 20 };

struct seen {
	pthread_t thread;
	pid_t tid;
	long number;
};

static _Thread_local long mine;
static pthread_barrier_t ready;

static void *run(void *arg)
{
	struct seen *s = arg;
	long on_stack = s->number * 1000003;

	mine = on_stack;
	s->tid = gettid();
	pthread_barrier_wait(&ready);
	kind_wait();
	CHECK_EQ(on_stack, s->number * 1000003);
	CHECK_EQ(mine, on_stack);
	CHECK_EQ(gettid(), s->tid);
	CHECK(pthread_equal(pthread_self(), s->thread));
	return (void *)(s->number + 1);
}

int main(int argc, char **argv)
{
	static struct seen seen[THREADS];
	pid_t pid = getpid();

	kind_init(argc, argv);
	CHECK(!pthread_barrier_init(&ready, NULL, THREADS + 1));
	for (long i = 0; i < THREADS; i++) {
		seen[i].number = i;
		CHECK(!pthread_create(&seen[i].thread, NULL, run, &seen[i]));
	}
	pthread_barrier_wait(&ready);
	kind_ready();
	CHECK_EQ(getpid(), pid);
	for (long i = 0; i < THREADS; i++) {
		void *ret;

		CHECK(!pthread_join(seen[i].thread, &ret));
		CHECK_EQ((long)ret, i + 1);
	}
	kind_pass();
}
