/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: a pipe is made with the first of its ends, filled, and its two ends
 * go to the first objects that want them; further descriptions of an end are
 * opened through /proc. Ends that no object takes stay with the plugin until all
 * objects are made: what was hung up hangs up then, before any task runs.
 */
#include "pipes.h"

#include <sys/ioctl.h>

#define KERNEL_LARGEFILE 0100000 /* in f_flags of what open(2), not pipe(2), made */
#define SETTABLE (O_NONBLOCK | O_DIRECT | O_APPEND | O_NOATIME)
#define MAX_CAPACITY (1u << 31)
#define ROOM (64 * 1024)

/* -- load --------------------------------------------------------------------------- */

static int load_pipe(struct pipes *p, const void *msg, size_t len, struct crcore_error *err)
{
	struct made *m = calloc(1, sizeof(*m));
	uint64_t end;

	if (!m || !GROW(p->made, p->nmade)) {
		free(m);
		return crcore_no_memory(err);
	}
	m->fd[0] = m->fd[1] = m->hold = -1;
	p->made[p->nmade++] = m;
	m->rec = pipes__pipe__unpack(NULL, len, msg);
	if (!m->rec)
		return crcore_fail(err, -EBADMSG, "a record of section pipe is damaged");
	end = m->rec->blob;
	for (size_t i = 0; i < m->rec->n_chunks; i++)
		end += m->rec->chunks[i]->length;
	if (!m->rec->number || !S_ISFIFO(m->rec->mode) || m->rec->blob > INT64_MAX ||
	    end > INT64_MAX || end - m->rec->blob > MAX_CAPACITY || !m->rec->capacity ||
	    m->rec->capacity >= MAX_CAPACITY || (m->rec->unlinked && !m->rec->path[0]) ||
	    (m->rec->no_writer_yet && (!m->rec->path[0] || m->rec->unlinked || m->rec->n_chunks)))
		return crcore_fail(err, -EBADMSG, "a record of section pipe makes no sense");
	return 0;
}

static int load_end(struct pipes *p, const void *msg, size_t len, struct crcore_error *err)
{
	Pipes__End *end = pipes__end__unpack(NULL, len, msg);

	if (!end)
		return crcore_fail(err, -EBADMSG, "a record of section end is damaged");
	if (!GROW(p->ends, p->nends)) {
		pipes__end__free_unpacked(end, NULL);
		return crcore_no_memory(err);
	}
	p->ends[p->nends++] = end;
	if (!end->id || (end->flags & O_ACCMODE) == O_ACCMODE || end->external > 3)
		return crcore_fail(err, -EBADMSG, "a record of section end makes no sense");
	return 0;
}

int pipes_load_record(void *state, const char *section, uint32_t version, const void *msg,
                      size_t len, struct crcore_error *err)
{
	if (!strcmp(section, "pipe"))
		return load_pipe(state, msg, len, err);
	if (!strcmp(section, "end"))
		return load_end(state, msg, len, err);
	return crcore_fail(err, -EBADMSG, "there is no section %s", section);
}

/* -- check --------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	const struct made *x = *(struct made *const *)a, *y = *(struct made *const *)b;

	return (x->rec->number > y->rec->number) - (x->rec->number < y->rec->number);
}

static int by_id(const void *a, const void *b)
{
	const Pipes__End *x = *(Pipes__End *const *)a, *y = *(Pipes__End *const *)b;

	return (x->id > y->id) - (x->id < y->id);
}

static struct made *find_pipe(const struct pipes *p, uint32_t number)
{
	Pipes__Pipe rec = { .number = number };
	struct made key = { .rec = &rec }, *k = &key, **hit;

	hit = p->nmade ? bsearch(&k, p->made, p->nmade, sizeof(*p->made), by_number) : NULL;
	return hit ? *hit : NULL;
}

static int check_pipe(struct pipes *p, const Pipes__Pipe *rec, struct crcore_error *err)
{
	uint64_t end = rec->blob;
	struct stat st = { 0 };

	for (size_t i = 0; i < rec->n_chunks; i++)
		end += rec->chunks[i]->length;
	if (end > rec->blob) {
		int blob = p->host->blob(p->ctx, "pipe", err);
		if (blob < 0)
			return blob;
		if (fstat(blob, &st) < 0 || end > (uint64_t)st.st_size)
			return crcore_fail(err, -EBADMSG, "the bytes in a pipe are cut off in the image");
	}
	return rec->path[0] ? fifo_check(rec, err) : 0;
}

static int check_external(const Pipes__End *end, struct crcore_error *err)
{
	int fd = (int)end->external - 1, flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && (!pipes_can_read(end->flags) || pipes_can_read((uint32_t)flags)) &&
	    (!pipes_can_write(end->flags) || pipes_can_write((uint32_t)flags)))
		return 0;
	crcore_fail_at(err, -1, -1, "pipe %u", end->pipe);
	crcore_advise(err, "start crcore restore with descriptor %d open for %s", fd,
	              pipes_can_read(end->flags) ? "reading" : "writing");
	return crcore_fail(err, -EBADF, "crcore's own descriptor %d is to take its place, but is not "
	                   "open for that", fd);
}

int pipes_check(void *state, struct crcore_error *err)
{
	struct pipes *p = state;
	int r = 0;

	if (p->nmade)
		qsort(p->made, p->nmade, sizeof(*p->made), by_number);
	if (p->nends)
		qsort(p->ends, p->nends, sizeof(*p->ends), by_id);
	for (unsigned i = 0; !r && i < p->nmade; i++) {
		if (i && !by_number(&p->made[i - 1], &p->made[i]))
			return crcore_fail(err, -EBADMSG, "two records are of one pipe");
		r = check_pipe(p, p->made[i]->rec, err);
	}
	for (unsigned i = 0; !r && i < p->nends; i++) {
		const Pipes__End *end = p->ends[i];
		struct made *m = find_pipe(p, end->pipe);
		if (!m || (i && p->ends[i - 1]->id == end->id))
			return crcore_fail(err, -EBADMSG, "the records of an end and of its pipe do not match");
		m->left++;
		m->readers += pipes_can_read(end->flags);
		m->writers += pipes_can_write(end->flags);
		if (m->writers && m->rec->no_writer_yet)
			return crcore_fail(err, -EBADMSG, "the records of a FIFO contradict each other");
		r = end->external ? check_external(end, err) : 0;
	}
	return r;
}

/* -- making a pipe ------------------------------------------------------------------- */

static int fill_chunk(int fd, int blob, const Pipes__Chunk *c, off_t at, char *buf)
{
	uint32_t left = c->length;

	if (fcntl(fd, F_SETFL, O_NONBLOCK | (c->packet ? O_DIRECT : 0)) < 0)
		return -errno;
	while (left) {
		size_t want = left < ROOM ? left : ROOM;
		ssize_t n = pread(blob, buf, want, at), w;
		if (n <= 0)
			return n ? -errno : -EBADMSG;
		w = write(fd, buf, (size_t)n);
		if (w != n)
			return w < 0 ? -errno : -ENOSPC;
		at += n;
		left -= (uint32_t)n;
	}
	return 0;
}

/* Size and bytes. fd: open for writing, without waiting. */
static int fill(struct pipes *p, const Pipes__Pipe *rec, int fd, struct crcore_error *err)
{
	cleanup_free char *buf = rec->n_chunks ? malloc(ROOM) : NULL;
	int blob = rec->n_chunks ? p->host->blob(p->ctx, "pipe", err) : -1, r = 0;
	off_t at = (off_t)rec->blob;

	if (rec->n_chunks && blob < 0)
		return blob;
	if (rec->n_chunks && !buf)
		return crcore_no_memory(err);
	if (fcntl(fd, F_GETPIPE_SZ) != (int)rec->capacity &&
	    fcntl(fd, F_SETPIPE_SZ, (int)rec->capacity) < 0) {
		r = -errno;
		crcore_advise(err, "raise /proc/sys/fs/pipe-max-size and pipe-user-pages-soft");
		return crcore_fail(err, r, "cannot give the pipe its size of %u bytes: %s", rec->capacity,
		                   strerror(-r));
	}
	for (size_t i = 0; !r && i < rec->n_chunks; i++) {
		r = fill_chunk(fd, blob, rec->chunks[i], at, buf);
		at += rec->chunks[i]->length;
	}
	return r < 0 ?
	       crcore_fail(err, r, "cannot write back what was in the pipe: %s", strerror(-r)) : 0;
}

static int make_anonymous(struct pipes *p, struct made *m, struct crcore_error *err)
{
	struct stat st;
	int r;

	if (pipe2(m->fd, O_CLOEXEC | O_NONBLOCK) < 0)
		return crcore_fail(err, -errno, "cannot make a pipe: %s", strerror(errno));
	r = fill(p, m->rec, m->fd[1], err);
	if (r < 0)
		return r;
	/* Who may open it again, as /dev/stdout, depends on its owner. */
	if (fstat(m->fd[0], &st) < 0 ||
	    ((st.st_uid != m->rec->uid || st.st_gid != m->rec->gid) &&
	     fchown(m->fd[0], m->rec->uid, m->rec->gid) < 0) ||
	    (st.st_mode != m->rec->mode && fchmod(m->fd[0], m->rec->mode & 07777) < 0))
		return crcore_fail(err, -errno, "cannot give the pipe its owner and mode: %s",
		                   strerror(errno));
	return 0;
}

static int make(struct pipes *p, struct made *m, struct crcore_error *err)
{
	int r = 0;

	if (m->exists)
		return 0;
	if (!m->rec->path[0])
		r = make_anonymous(p, m, err);
	else if (!m->rec->no_writer_yet) {
		r = fifo_make(p, m, err);
		if (!r)
			r = fill(p, m->rec, m->hold, err);
	}
	m->exists = r == 0;
	return r;
}

/* -- create ---------------------------------------------------------------------------- */

static int reopen(struct pipes *p, struct made *m, uint32_t flags, struct crcore_error *err)
{
	char path[40];
	int fd = m->fd[0] >= 0 ? m->fd[0] : m->fd[1];

	if (fd < 0)
		fd = p->host->need(p->ctx, m->any, err);
	if (fd < 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, (int)(flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ?
	       crcore_fail(err, -errno, "cannot open the pipe again: %s", strerror(errno)) : fd;
}

static int open_anonymous(struct pipes *p, struct made *m, uint32_t flags, struct crcore_error *err)
{
	int side = (flags & O_ACCMODE) == O_WRONLY, fd = m->fd[side];

	if (fd < 0 || (flags & O_ACCMODE) == O_RDWR || flags & KERNEL_LARGEFILE)
		return reopen(p, m, flags, err);
	m->fd[side] = -1;
	return fd;
}

static int create(struct pipes *p, struct made *m, const Pipes__End *end, struct crcore_error *err)
{
	int fd, r = make(p, m, err);

	if (r < 0)
		return r;
	fd = m->rec->path[0] ? fifo_open(m, end->flags, err) : open_anonymous(p, m, end->flags, err);
	if (fd < 0)
		return fd;
	if (m->rec->no_writer_yet)
		r = fill(p, m->rec, fd, err);
	if (!r && fcntl(fd, F_SETFL, (int)end->flags & SETTABLE) < 0)
		r = crcore_fail(err, -errno, "cannot set the flags of the pipe: %s", strerror(errno));
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

int pipes_create(void *state, uint32_t id, struct crcore_error *err)
{
	struct pipes *p = state;
	Pipes__End key = { .id = id }, *k = &key, **hit;
	struct made *m;
	int fd;

	hit = p->nends ? bsearch(&k, p->ends, p->nends, sizeof(*p->ends), by_id) : NULL;
	m = hit ? find_pipe(p, (*hit)->pipe) : NULL;
	if (!m)
		return crcore_fail(err, -EBADMSG, "there is no record of object %u", id);
	if ((*hit)->external) {
		fd = fcntl((int)(*hit)->external - 1, F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			crcore_fail(err, -errno, "cannot use crcore's own descriptor: %s", strerror(errno));
	} else {
		fd = create(p, m, *hit, err);
		if (fd >= 0)
			m->any = id;
	}
	if (fd < 0)
		crcore_fail_at(err, -1, -1, "%s%s", m->rec->path[0] ? "FIFO " : "pipe", m->rec->path);
	else if (m->left && --m->left == 0) /* there may be more of them than descriptors */
		made_let_go(m);
	return fd < 0 ? err->code : fd;
}

void made_let_go(struct made *m)
{
	int *fds[] = { &m->fd[0], &m->fd[1], &m->hold };

	for (unsigned i = 0; i < 3; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

/* Those of which not all objects were wanted. */
int pipes_settle(void *state, struct crcore_error *err)
{
	struct pipes *p = state;

	for (unsigned i = 0; i < p->nmade; i++)
		made_let_go(p->made[i]);
	return 0;
}
