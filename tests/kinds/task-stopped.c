/* SPDX-License-Identifier: Apache-2.0 */
/* Stopped children stay stopped, each by its own signal, with one thread or more, and
 * go on when told to. */
#include "kind.h"
#include <pthread.h>

static volatile int *count;

static void *work(void *arg)
{
	for (;;) {
		__atomic_add_fetch(&count[(long)arg], 1, __ATOMIC_SEQ_CST);
		kind_sleep_ms(1);
	}
	return NULL;
}

static int child(void *arg)
{
	pthread_t thread;

	if ((long)arg == 2)
		CHECK(!pthread_create(&thread, NULL, work, arg));
	while (!kind_over())
		kind_sleep_ms(1);
	return 0;
}

int main(int argc, char **argv)
{
	static const int by[3] = { SIGSTOP, SIGTSTP, SIGSTOP };
	pid_t pid[3];
	int status, before;

	kind_init(argc, argv);
	count = kind_shared(4096);
	for (long i = 0; i < 3; i++) {
		pid[i] = kind_fork(child, (void *)i);
		CHECK(!setpgid(pid[i], pid[i])); /* not orphaned: SIGTSTP works */
		while (i == 2 && !count[2])
			kind_sleep_ms(1);
		CHECK(!kill(pid[i], by[i]));
		CHECK_EQ(waitpid(pid[i], &status, WUNTRACED), pid[i]);
		CHECK(WIFSTOPPED(status));
		CHECK_EQ(WSTOPSIG(status), by[i]);
		kind_until_state(pid[i], pid[i], 'T');
	}
	before = count[2];
	kind_ready();
	kind_sleep_ms(20);
	CHECK_EQ(count[2], before);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(kind_state(pid[i], pid[i]), 'T');
		CHECK(!kill(pid[i], SIGCONT));
		kind_join(pid[i]);
	}
	kind_pass();
}
