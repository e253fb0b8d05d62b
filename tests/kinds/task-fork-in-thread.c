/* SPDX-License-Identifier: Apache-2.0 */
/* Children that a thread other than the leader has made, and threads with gaps between
 * their ids, created in an order other than that of the children. */
#include "kind.h"
#include <pthread.h>

static pthread_barrier_t ready;

static int child(void *arg)
{
	kind_wait();
	return 0;
}

static void *short_lived(void *arg)
{
	return NULL;
}

static void *run(void *arg)
{
	pid_t tid = gettid(), pid[2] = { kind_fork(child, NULL), kind_fork(child, NULL) };
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, short_lived, NULL));
	CHECK(!pthread_join(thread, NULL));
	pthread_barrier_wait(&ready);
	kind_wait();
	CHECK_EQ(gettid(), tid);
	kind_join(pid[0]);
	kind_join(pid[1]);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[3];

	kind_init(argc, argv);
	CHECK(!pthread_barrier_init(&ready, NULL, 4));
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_create(&thread[i], NULL, run, NULL));
	pthread_barrier_wait(&ready);
	kind_ready();
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_join(thread[i], NULL));
	kind_pass();
}
