/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Last wills: what is to be done should this process be killed, so that not even its undo
 * entries run. A guard (core/util/guard.h), forked with the first will, sees to it.
 *
 * The wills are in shared memory: those added later are known to the guard. It
 * uses nothing else of us: no descriptor, no memory that may have changed. They
 * are carried out as undo entries are, the last one first.
 *
 * A reader could break: whether they stand is one word (struct fate), which main reads too.
 * So a restored tree lives and keeps what was made for it, or ends and loses it: pact.c.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include "core/host/internal.h"
#include "core/util/guard.h"
#include "core/util/util.h"

#define ROOM (64 << 20)    /* of which only what is used takes memory */
#define TRIES 2000         /* for a directory that is still in use, of a millisecond */

struct wills {
	struct guard guard;
	const struct fate *fate;
	bool tree_runs;        /* void but for those about the image */
	bool sealed;           /* void are those about the image */
	bool about_image;      /* there are such */
	size_t used;           /* bytes of room that are complete */
	uint8_t room[];        /* for each: bytes, then a struct will */
};

struct will {
	void (*fn)(const void *bytes, size_t len);
	size_t len;
	enum will_time when;
};

/* ---- the guard ---------------------------------------------------------------------- */

static void write_text(const void *bytes, size_t len)
{
	const char *path = bytes, *text = path + strlen(path) + 1;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	ssize_t ignored = write(fd, text, strlen(text));
	(void)ignored;
	close(fd);
}

static void remove_folder(const void *path, size_t len)
{
	struct timespec pause = { 0, 1000000 };

	for (int i = 0; i < TRIES && rmdir(path) < 0 && errno == EBUSY; i++)
		nanosleep(&pause, NULL);
}

static bool is_due(const struct wills *w, enum will_time time, bool first)
{
	if (time == WILL_IMAGE)
		return !first && !__atomic_load_n(&w->sealed, __ATOMIC_SEQ_CST);
	return (time == WILL_FIRST) == first && !__atomic_load_n(&w->tree_runs, __ATOMIC_SEQ_CST);
}

static void carry_out(const struct wills *w, bool first)
{
	const bool kept = w->fate && __atomic_load_n(&w->fate->kept, __ATOMIC_SEQ_CST);
	struct will will;

	for (size_t at = kept ? 0 : w->used; at;) {
		memcpy(&will, w->room + at - sizeof(will), sizeof(will));
		at -= sizeof(will) + will.len;
		if (is_due(w, will.when, first))
			will.fn(w->room + at, will.len);
	}
}

static void carry_out_first(void *w)
{
	carry_out(w, true);
}

static void carry_out_last(void *w)
{
	carry_out(w, false);
}

/* ---- us -------------------------------------------------------------------------------- */

static int make_guard(struct host *h, struct crcore_error *err)
{
	struct wills *w = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
	                       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (w == MAP_FAILED)
		return crcore_fail(err, -errno, "no memory for the last will: %s", strerror(errno));
	w->fate = h->fate;
	const struct guard_duty duty = { carry_out_first, carry_out_last, false, w };
	int r = guard_begin(&w->guard, &duty, err);
	if (h->fate)
		h->fate->guard = r < 0 ? 0 : w->guard.pid;
	if (r < 0)
		munmap(w, ROOM);
	else
		h->wills = w;
	return r;
}

int host_will(struct host *h, enum will_time when, void (*fn)(const void *bytes, size_t len),
              const void *bytes, size_t len, struct crcore_error *err)
{
	const struct will will = { fn, len, when };
	int r = h->wills ? 0 : make_guard(h, err);

	if (r < 0)
		return r;
	struct wills *w = h->wills;
	if (len + sizeof(will) > ROOM - sizeof(*w) - w->used)
		return crcore_fail(err, -ENOSPC, "too many last wills");
	w->about_image |= when == WILL_IMAGE;
	memcpy(w->room + w->used, bytes, len);
	memcpy(w->room + w->used + len, &will, sizeof(will));
	__atomic_store_n(&w->used, w->used + len + sizeof(will), __ATOMIC_RELEASE);
	return 0;
}

int host_will_text(struct host *h, const char *path, const char *text, struct crcore_error *err)
{
	const size_t n = strlen(path) + 1, more = text ? strlen(text) + 1 : 0;
	cleanup_free char *bytes = malloc(n + more);

	if (!bytes)
		return crcore_no_memory(err);
	memcpy(bytes, path, n);
	if (text)
		memcpy(bytes + n, text, more);
	return host_will(h, text ? WILL_FIRST : WILL_LAST, text ? write_text : remove_folder, bytes,
	                 n + more, err);
}

void host_wills_void(struct host *h, pid_t kept)
{
	__atomic_store_n(&h->fate->kept, kept, __ATOMIC_SEQ_CST);
}

void host_wills_tree_runs(struct host *h)
{
	if (h->wills && h->wills->about_image)
		__atomic_store_n(&h->wills->tree_runs, true, __ATOMIC_SEQ_CST);
	else
		host_wills_drop(h);
}

void host_wills_sealed(struct host *h)
{
	if (h->wills)
		__atomic_store_n(&h->wills->sealed, true, __ATOMIC_SEQ_CST);
}

void host_wills_drop(struct host *h)
{
	struct wills *w = h->wills;

	if (!w)
		return;
	h->wills = NULL;
	__atomic_store_n(&w->used, 0, __ATOMIC_SEQ_CST);
	guard_end(&w->guard);
	munmap(w, ROOM);
}
