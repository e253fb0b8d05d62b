/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: files of /proc of a process that has ended. All that can be done with
 * one is to find that out, so any other that has ended does: a thread of ours,
 * which lives for as long as it takes to open its file.
 */
#include "files.h"

#include <pthread.h>
#include <sys/syscall.h>

struct mayfly {
	pthread_mutex_t life; /* held by us as long as it is to live */
	pthread_barrier_t born;
	pid_t tid;
};

static void *live(void *arg)
{
	struct mayfly *m = arg;

	m->tid = (pid_t)syscall(SYS_gettid);
	pthread_barrier_wait(&m->born);
	pthread_mutex_lock(&m->life);
	pthread_mutex_unlock(&m->life);
	return NULL;
}

/* The same file of the thread, else one of the same type. */
static int open_of(pid_t tid, const Files__File *rec, int flags)
{
	const char *leaf = strchr(rec->path + strlen("/proc/"), '/');
	char path[PATH_MAX + 64];
	int fd = -1;

	if (leaf && !strncmp(leaf, "/task/", 6))
		leaf = strchr(leaf + 6, '/');
	snprintf(path, sizeof(path), "/proc/self/task/%d%s", (int)tid, leaf ? leaf : "");
	fd = open(path, flags);
	if (fd >= 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/self/task/%d%s", (int)tid,
	         S_ISDIR(rec->mode) ? "" : "/stat");
	fd = open(path, flags);
	return fd < 0 ? -errno : fd;
}

int dead_create(const Files__File *rec, struct crcore_error *err)
{
	int flags = (int)(rec->flags & ~(uint32_t)TMPFILE_BIT) | O_CLOEXEC | O_NOCTTY, fd, r;
	struct mayfly m = { .life = PTHREAD_MUTEX_INITIALIZER };
	struct timespec pause = { 0, 100000 };
	pthread_t thread;
	char path[64];

	pthread_barrier_init(&m.born, NULL, 2);
	pthread_mutex_lock(&m.life);
	r = pthread_create(&thread, NULL, live, &m);
	if (r) {
		pthread_barrier_destroy(&m.born);
		return crcore_fail(err, -r, "cannot make a thread: %s", strerror(r));
	}
	pthread_barrier_wait(&m.born);
	fd = open_of(m.tid, rec, flags);
	pthread_mutex_unlock(&m.life);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&m.born);
	snprintf(path, sizeof(path), "/proc/self/task/%d", (int)m.tid);
	for (int i = 0; i < 10000 && access(path, F_OK) == 0; i++) /* its number goes a little later */
		nanosleep(&pause, NULL);
	return fd < 0 ? crcore_fail(err, fd, "no file of a process that has ended can be opened in its "
	                            "place: %s", strerror(-fd)) : fd;
}
