/* SPDX-License-Identifier: Apache-2.0 */
/* A handler of SIGCHLD and of every other catchable signal is not called by a checkpoint:
 * neither zombies nor stopped children nor the tracer are seen by the application. */
#include "kind.h"

static volatile int *caught;

static void handler(int sig)
{
	caught[sig]++;
}

static int ends(void *arg)
{
	return 0;
}

static int lives(void *arg)
{
	kind_wait();
	for (int s = 1; s <= SIGRTMAX; s++)
		CHECK_EQ(caught[s], 0);
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = handler };
	pid_t zombie, stopped, live;
	sigset_t chld, old;

	kind_init(argc, argv);
	caught = kind_shared(4096);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	CHECK(!sigprocmask(SIG_BLOCK, &chld, &old));
	zombie = kind_fork(ends, NULL);
	stopped = kind_fork(lives, NULL);
	CHECK(!kill(stopped, SIGSTOP));
	kind_until_state(stopped, stopped, 'T');
	kind_until_state(zombie, zombie, 'Z');
	/* Let the signals of the above pass. */
	CHECK(!sigprocmask(SIG_SETMASK, &old, NULL));
	for (int s = 1; s <= SIGRTMAX; s++)
		if (s != SIGKILL && s != SIGSTOP && (s < 32 || s >= SIGRTMIN))
			CHECK(!sigaction(s, &sa, NULL));
	live = kind_fork(lives, NULL);
	for (int s = 1; s <= SIGRTMAX; s++)
		caught[s] = 0;
	kind_ready();
	kind_sleep_ms(20);
	for (int s = 1; s <= SIGRTMAX; s++)
		if (s != SIGCHLD) /* a child that has ended by now sends one */
			CHECK_EQ(caught[s], 0);
	CHECK(caught[SIGCHLD] <= 1);
	CHECK(!kill(stopped, SIGKILL));
	CHECK_EQ(waitpid(stopped, NULL, 0), stopped);
	CHECK_EQ(waitpid(zombie, NULL, 0), zombie);
	CHECK(waitpid(live, NULL, 0) == live);
	kind_pass();
}
