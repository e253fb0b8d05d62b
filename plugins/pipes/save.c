/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: records and the bytes in a pipe. tee(2) copies the buffers to a pipe of
 * our own, reading that shows where packets end: a read never goes past the
 * end of a packet, and a last byte of our own tells whether the end of the
 * data is one. If the tree has no end to read from, nobody in it can ever read
 * the bytes, so they are left out.
 */
#include "pipes.h"

#include <sys/ioctl.h>

#define ROOM (64 * 1024)

/* -- the bytes -------------------------------------------------------------------- */

static int add_chunk(Pipes__Pipe *rec, uint32_t length, bool packet)
{
	Pipes__Chunk *c = malloc(sizeof(*c)), *last;
	void *more = realloc(rec->chunks, (rec->n_chunks + 1) * sizeof(*rec->chunks));

	if (more)
		rec->chunks = more;
	if (!c || !more) {
		free(c);
		return -ENOMEM;
	}
	pipes__chunk__init(c);
	c->length = length;
	c->packet = packet;
	last = rec->n_chunks ? rec->chunks[rec->n_chunks - 1] : NULL;
	if (last && !last->packet && !packet) { /* plain bytes have no boundaries */
		last->length += length;
		free(c);
	} else {
		rec->chunks[rec->n_chunks++] = c;
	}
	return 0;
}

/* Reads what is in our own pipe, total bytes, into the image. */
static int drain(struct pipes *p, Pipes__Pipe *rec, size_t total, struct crcore_error *err)
{
	cleanup_free char *buf = malloc(ROOM);
	int blob = p->host->blob(p->ctx, "pipe", err), r = 0;
	bool mark = write(p->own[1], "", 1) == 1; /* not if it is full: then after the first read */

	if (blob < 0)
		return blob;
	if (!buf)
		return crcore_no_memory(err);
	while (!r && total) {
		ssize_t n = read(p->own[0], buf, ROOM);
		size_t got = n > 0 ? (size_t)n : 0;
		/* A read that ends before its room, the data or the mark does ended at a packet. */
		bool packet = got < ROOM && (got < total || (got == total && mark));
		if (!got)
			return crcore_fail(err, -EIO, "cannot read its copy: %s", strerror(errno));
		if (!mark)
			mark = write(p->own[1], "", 1) == 1;
		if (got > total) { /* the mark came along */
			got = total;
			mark = false;
		}
		r = add_chunk(rec, (uint32_t)got, packet);
		if (!r)
			r = write_all(blob, buf, got);
		total -= got;
		p->blob_end += got;
	}
	if (mark && read(p->own[0], buf, 1) != 1)
		r = -EIO;
	return r < 0 ? crcore_fail(err, r, "cannot store its contents: %s", strerror(-r)) : 0;
}

static int copy_bytes(struct pipes *p, const struct crcore_object *obj, Pipes__Pipe *rec,
                      struct crcore_error *err)
{
	int avail = 0, r;
	ssize_t n;

	if (ioctl(obj->local_fd, FIONREAD, &avail) < 0)
		return crcore_fail(err, -errno, "cannot ask how much is in it: %s", strerror(errno));
	if (!avail)
		return 0;
	r = pipes_own(p, 2 * rec->capacity, NULL); /* room for the mark */
	if (r < 0)
		r = pipes_own(p, rec->capacity, err);
	if (r < 0)
		return r;
	n = tee(obj->local_fd, p->own[1], INT_MAX, SPLICE_F_NONBLOCK);
	if (n < 0)
		return crcore_fail(err, -errno, "cannot copy what is in it: %s", strerror(errno));
	if (n != avail)
		return crcore_fail(err, -EIO, "only %zd of the %d bytes in it could be copied", n, avail);
	rec->blob = p->blob_end;
	return drain(p, rec, (size_t)n, err);
}

/* -- records ------------------------------------------------------------------------ */

static int fill_fifo(const struct crcore_object *obj, Pipes__Pipe *rec, char path[PATH_MAX],
                     struct crcore_error *err)
{
	bool unlinked = false;
	int r = 0;

	if (strncmp(obj->link, "pipe:", 5) == 0)
		return 0;
	r = fifo_locate(obj, path, &unlinked, err);
	rec->path = path;
	rec->unlinked = unlinked;
	return r;
}

static int save_pipe(struct pipes *p, struct known *k, const struct crcore_object *obj,
                     struct crcore_error *err)
{
	Pipes__Pipe rec = PIPES__PIPE__INIT;
	char path[PATH_MAX];
	int size = fcntl(obj->local_fd, F_GETPIPE_SZ), r;

	if (size < 0)
		return crcore_fail(err, -errno, "cannot ask for its size: %s", strerror(errno));
	rec.number = k->number;
	rec.mode = obj->st.st_mode;
	rec.uid = obj->st.st_uid;
	rec.gid = obj->st.st_gid;
	rec.capacity = (uint32_t)size;
	r = fill_fifo(obj, &rec, path, err);
	rec.no_writer_yet = k->no_writer_yet && rec.path[0] && !rec.unlinked;
	if (!r && pipes_can_read(obj->flags))
		r = copy_bytes(p, obj, &rec, err);
	if (!r)
		r = record_put(p->host, p->ctx, "pipe", &rec.base, err);
	for (size_t i = 0; i < rec.n_chunks; i++)
		free(rec.chunks[i]);
	free(rec.chunks);
	k->saved = r == 0;
	return r;
}

int pipes_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct pipes *p = state;
	struct known *k = pipes_find(p, obj->st.st_dev, obj->st.st_ino);
	Pipes__End end = PIPES__END__INIT;
	int r = 0;

	if (!k)
		return crcore_fail(err, -EINVAL, "this end was not there when the tree was looked at");
	end.id = obj->id;
	end.pipe = k->number;
	end.flags = obj->flags & ~(uint32_t)O_CLOEXEC;
	if (k->outside && p->external == EXTERNAL_INHERIT)
		end.external = 1 + (obj->fd <= 2 ? (uint32_t)obj->fd : pipes_can_write(obj->flags));
	/* The record of the pipe is written with the first end that shows what is in it. */
	if (!k->saved && (pipes_can_read(obj->flags) || !k->readers))
		r = save_pipe(p, k, obj, err);
	if (!r)
		r = record_put(p->host, p->ctx, "end", &end.base, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}
