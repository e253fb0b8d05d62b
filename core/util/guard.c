/* SPDX-License-Identifier: Apache-2.0 */
/* See guard.h. */
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "core/util/guard.h"
#include "core/util/util.h"

static _Noreturn void guard_main(struct guard *g, void (*last)(void *arg), void *arg)
{
	const struct sched_param first = { .sched_priority = 1 };
	static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE };

	prctl(PR_SET_PDEATHSIG, 0);
	prctl(PR_SET_NAME, "cr-guard");
	setsid();
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	close_range(0, ~0U, 0);
	sched_setscheduler(0, SCHED_FIFO, &first); /* refused: no harm */
	if (pthread_mutex_lock(&g->life) == EOWNERDEAD)
		last(arg);
	_exit(0);
}

int guard_begin(struct guard *g, void (*last)(void *arg), void *arg, struct crcore_error *err)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	int r = pthread_mutex_init(&g->life, &attr);
	pthread_mutexattr_destroy(&attr);
	if (r == 0)
		r = pthread_mutex_lock(&g->life);
	pid_t pid = r ? -1 : fork(); /* not into what both see: it would end as 0 */
	if (pid == 0)
		guard_main(g, last, arg);
	if (pid < 0) {
		r = r ? -r : -errno;
		return crcore_fail(err, r, "no process to stand by should this one be killed: %s",
		                   strerror(-r));
	}
	g->pid = pid;
	return 0;
}

void guard_end(struct guard *g)
{
	pthread_mutex_unlock(&g->life);
	kill(g->pid, SIGKILL); /* it has nothing to do any more */
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
}
