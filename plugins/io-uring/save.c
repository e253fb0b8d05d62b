/* SPDX-License-Identifier: Apache-2.0 */
/* Dump: a ring's record. Nothing is in flight, and nobody runs who could submit something. */
#include "io-uring.h"
#include "plugins/record.h"

static size_t without_zeroes(const uint8_t *bytes, size_t len)
{
	while (len && !bytes[len - 1])
		len--;
	return len;
}

/* A descriptor from which the memory of a ring can be mapped: of the ring or its memfd. */
static int open_memory(const struct uring *u, const struct crcore_object *obj, const struct look *l)
{
	const struct crcore_object *memory = other_of(u, obj);
	char path[80];
	int fd;

	if (!(l->setup & SETUP_NO_MMAP)) {
		fd = fcntl(obj->local_fd, F_DUPFD_CLOEXEC, 3);
	} else {
		if (!memory)
			return -ENOENT;
		snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, memory->pid,
		         memory->start, memory->end);
		fd = open(path, O_RDWR | O_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

/* What is where in its memory is told by setting up another like it. */
static int map_memory(const struct uring *u, const struct crcore_object *obj, const struct look *l,
                      struct ring_memory *m, struct crcore_error *err)
{
	struct io_uring_params p;
	cleanup_close int fd = open_memory(u, obj, l);
	int r = ring_try(l->setup & ~SETUP_NO_MMAP, l->sq_entries, l->cq_entries, &p, err);

	if (fd < 0)
		return crcore_fail(err, fd, "its memory cannot be opened: %s", strerror(-fd));
	return r < 0 ? r : ring_map(fd, &p, m, err);
}

static int save_ring(struct uring *u, const struct crcore_object *obj, struct crcore_error *err)
{
	Uring__Ring rec = URING__RING__INIT;
	struct ring_memory m;
	struct look l;
	pid_t issuer;
	int r = ring_look(u, obj->local_fd, &l, err);

	if (r == 0)
		r = issuer_find(u, obj, &l, &issuer, err);
	if (r == 0 && issuer && l.submitted != l.completed) {
		crcore_advise(err, "let the program make the ring anew, or start it without io_uring");
		r = crcore_fail(err, -ENOTSUP, "it is for one thread (IORING_SETUP_SINGLE_ISSUER) and has "
		                "had %u requests and %u completions, which cannot be brought back",
		                l.submitted, l.completed);
	}
	if (r == 0)
		r = map_memory(u, obj, &l, &m, err);
	if (r < 0)
		return r;
	rec.id = obj->id;
	rec.flags = obj->flags & ~(uint32_t)O_CLOEXEC;
	rec.setup = l.setup & ~SETUP_NO_MMAP;
	rec.sq_entries = l.sq_entries;
	rec.cq_entries = l.cq_entries;
	rec.submitted = l.submitted;
	rec.completed = l.completed;
	rec.drain_disabled = l.drain_disabled;
	rec.issuer = (uint32_t)issuer;
	rec.rings = (ProtobufCBinaryData){ without_zeroes(m.rings, m.rings_len), m.rings };
	rec.sqes = (ProtobufCBinaryData){ without_zeroes(m.sqes, m.sqes_len), m.sqes };
	r = record_put(u->host, u->ctx, "ring", &rec.base, err);
	ring_unmap(&m);
	return r;
}

static int save_mapping(const struct uring *u, const struct crcore_object *obj,
                        struct crcore_error *err)
{
	const struct crcore_object *ring = other_of(u, obj);
	Uring__Mapping rec = URING__MAPPING__INIT;

	rec.id = obj->id;
	rec.ring = ring ? ring->id : 0;
	return record_put(u->host, u->ctx, "mapping", &rec.base, err);
}

int uring_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	int r = is_ring(obj) ? save_ring(state, obj, err) : save_mapping(state, obj, err);

	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "io_uring");
	return r;
}
