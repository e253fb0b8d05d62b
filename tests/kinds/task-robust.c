/* SPDX-License-Identifier: Apache-2.0 */
/* Robust lists: a thread and a process that die after the restore with a robust mutex
 * held leave it marked, so the next one gets EOWNERDEAD. */
#include "kind.h"
#include <pthread.h>

static pthread_mutex_t *mutex;
static volatile int *held;

static void *run(void *arg)
{
	void *head;
	size_t len;

	CHECK(!pthread_mutex_lock(&mutex[0]));
	CHECK(!syscall(SYS_get_robust_list, 0, &head, &len));
	held[0] = 1;
	kind_wait();
	void *now;
	CHECK(!syscall(SYS_get_robust_list, 0, &now, &len));
	CHECK(now == head);
	return NULL; /* with the mutex */
}

static int child(void *arg)
{
	CHECK(!pthread_mutex_lock(&mutex[1]));
	held[1] = 1;
	kind_wait();
	kill(getpid(), SIGKILL);
	return 0;
}

int main(int argc, char **argv)
{
	pthread_mutexattr_t attr;
	pthread_t thread;
	pid_t pid;

	kind_init(argc, argv);
	mutex = kind_shared(4096);
	held = kind_shared(4096);
	CHECK(!pthread_mutexattr_init(&attr));
	CHECK(!pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST));
	CHECK(!pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED));
	CHECK(!pthread_mutex_init(&mutex[0], &attr));
	CHECK(!pthread_mutex_init(&mutex[1], &attr));
	CHECK(!pthread_create(&thread, NULL, run, NULL));
	pid = kind_fork(child, NULL);
	kind_until(&held[0], 1);
	kind_until(&held[1], 1);
	kind_ready();
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(pthread_mutex_lock(&mutex[i]), EOWNERDEAD);
		CHECK(!pthread_mutex_consistent(&mutex[i]));
		CHECK(!pthread_mutex_unlock(&mutex[i]));
	}
	CHECK(!pthread_join(thread, NULL));
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	kind_pass();
}
