/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Last wills: what is to be written to which file should this process be killed, so
 * that not even its undo entries run. A guard (core/util/guard.h), forked with the
 * first will, sees to it.
 *
 * The wills are in shared memory: those added later are known to the guard. It
 * uses nothing else of us: no descriptor, no memory that may have changed. They
 * are carried out as undo entries are, the last one first.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include "core/host/internal.h"
#include "core/util/guard.h"
#include "core/util/util.h"

#define ROOM (256 << 10)
#define TRIES 2000         /* for a directory that is still in use, of a millisecond */

struct wills {
	struct guard guard;
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

static void carry_out_all(void *arg)
{
	const struct wills *w = arg;

	for (size_t at = w->used; at;) {
		uint32_t len;
		memcpy(&len, w->text + at - sizeof(len), sizeof(len));
		at -= len;
		carry_out(w->text + at, w->text + at + strlen(w->text + at) + 1);
	}
}

/* ---- us -------------------------------------------------------------------------------- */

static int make_guard(struct host *h, struct crcore_error *err)
{
	struct wills *w = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (w == MAP_FAILED)
		return crcore_fail(err, -errno, "no memory for the last will: %s", strerror(errno));
	int r = guard_begin(&w->guard, carry_out_all, w, err);
	if (h->guard)
		*h->guard = r < 0 ? 0 : w->guard.pid;
	if (r < 0)
		munmap(w, ROOM);
	else
		h->wills = w;
	return r;
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
	guard_end(&w->guard);
	munmap(w, ROOM);
}
