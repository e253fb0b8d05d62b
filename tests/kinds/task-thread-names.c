/* SPDX-License-Identifier: Apache-2.0 */
/* Names of threads, odd characters and the full 15 included; a thread's signal mask. */
#include "kind.h"
#include <pthread.h>

static const char *const names[] = { "", "a", "two words", "fifteen-letters", "a)b (c", "tab\tnl\n", "\\n \\\\ \n\\" };
enum { N = sizeof(names) / sizeof(*names) };
static pthread_barrier_t ready;

static void *run(void *arg)
{
	long i = (long)arg;
	char name[16];
	sigset_t set, now;

	CHECK(!prctl(PR_SET_NAME, names[i]));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1 + (i & 1));
	sigaddset(&set, SIGRTMIN + (int)i);
	sigaddset(&set, SIGRTMAX);
	CHECK(!pthread_sigmask(SIG_SETMASK, &set, NULL));
	pthread_barrier_wait(&ready);
	kind_wait();
	CHECK(!prctl(PR_GET_NAME, name));
	CHECK_STR(name, names[i]);
	CHECK(!pthread_sigmask(SIG_SETMASK, NULL, &now));
	for (int s = 1; s <= SIGRTMAX; s++)
		CHECK_EQ(sigismember(&now, s), sigismember(&set, s));
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[N];

	kind_init(argc, argv);
	CHECK(!pthread_barrier_init(&ready, NULL, N + 1));
	for (long i = 0; i < N; i++)
		CHECK(!pthread_create(&thread[i], NULL, run, (void *)i));
	pthread_barrier_wait(&ready);
	kind_ready();
	for (int i = 0; i < N; i++)
		CHECK(!pthread_join(thread[i], NULL));
	kind_pass();
}
