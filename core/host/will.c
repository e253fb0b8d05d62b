/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Last wills: what is to be written to which file should this process be
 * killed, so that not even its undo entries run. A guard, forked with the first
 * will, waits for a robust mutex that we hold; the kernel passes it on as one of
 * the first things when we die, before it lets our tracees go. So the guard is
 * awake, and as a rule done, before a task that we had stopped runs again.
 *
 * The wills are in shared memory: those added later are known to the guard. It
 * uses nothing else of us: no descriptor, no memory that may have changed. They
 * are carried out as undo entries are, the last one first.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "core/host/internal.h"
#include "core/util/util.h"

#define ROOM (256 << 10)
#define TRIES 2000         /* for a directory that is still in use, of a millisecond */

struct wills {
	pthread_mutex_t life;  /* ours, as long as we live */
	pid_t guard;
	size_t used;           /* bytes of text that are complete */
	char text[];           /* for each: path, \0, text, \0, its length so far (uint32_t) */
};

/* ---- the guard ---------------------------------------------------------------------- */

static void carry_out(const char *path, const char *text)
{
	struct timespec pause = { 0, 1000000 };

	if (!*text) {
		for (int i = 0; i < TRIES && rmdir(path) < 0 && errno == EBUSY; i++)
			nanosleep(&pause, NULL);
		return;
	}
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t ignored = write(fd, text, strlen(text));
	(void)ignored;
	close(fd);
}

static _Noreturn void guard_main(struct wills *w)
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
	if (pthread_mutex_lock(&w->life) == EOWNERDEAD)
		for (size_t at = w->used; at;) {
			uint32_t len;
			memcpy(&len, w->text + at - sizeof(len), sizeof(len));
			at -= len;
			carry_out(w->text + at, w->text + at + strlen(w->text + at) + 1);
		}
	_exit(0);
}

/* ---- us -------------------------------------------------------------------------------- */

static int make_guard(struct host *h, struct crcore_error *err)
{
	pthread_mutexattr_t attr;
	struct wills *w = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (w == MAP_FAILED)
		return crcore_fail(err, -errno, "no memory for the last will: %s", strerror(errno));
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	int r = pthread_mutex_init(&w->life, &attr);
	pthread_mutexattr_destroy(&attr);
	if (r == 0)
		r = pthread_mutex_lock(&w->life);
	pid_t guard = r ? -1 : fork(); /* not into what both see: it would end as 0 */
	if (guard == 0)
		guard_main(w);
	w->guard = guard;
	if (h->guard)
		*h->guard = guard;
	if (guard < 0) {
		r = r ? -r : -errno;
		munmap(w, ROOM);
		return crcore_fail(err, r, "no process to carry out the last will: %s", strerror(-r));
	}
	h->wills = w;
	return 0;
}

int host_will(struct host *h, const char *path, const char *text, struct crcore_error *err)
{
	size_t len = strlen(path) + 1, more = text ? strlen(text) + 1 : 1;
	uint32_t all = (uint32_t)(len + more + sizeof(all));
	int r = h->wills ? 0 : make_guard(h, err);

	if (r < 0)
		return r;
	struct wills *w = h->wills;
	if (all > ROOM - sizeof(*w) - w->used)
		return crcore_fail(err, -ENOSPC, "too many last wills");
	memcpy(w->text + w->used, path, len);
	memcpy(w->text + w->used + len, text ? text : "", more);
	memcpy(w->text + w->used + len + more, &all, sizeof(all));
	__atomic_store_n(&w->used, w->used + all, __ATOMIC_RELEASE);
	return 0;
}

void host_wills_drop(struct host *h)
{
	struct wills *w = h->wills;

	if (!w)
		return;
	h->wills = NULL;
	__atomic_store_n(&w->used, 0, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&w->life);
	kill(w->guard, SIGKILL); /* it has nothing to do any more */
	while (waitpid(w->guard, NULL, 0) < 0 && errno == EINTR)
		;
	munmap(w, ROOM);
}
