/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that a ring shares with whoever maps it: the rings at offset 0, the requests
 * at IORING_OFF_SQES. It is of the ring, which then is what is mapped; or a memfd that we
 * have given it at a restore, which is mapped in the same way.
 */
#include "io-uring.h"

#include <sys/mman.h>
#include <sys/syscall.h>

/* ---- dump: whose it is ------------------------------------------------------------------ */

bool is_ring(const struct crcore_object *obj)
{
	return obj->class_ == CRCORE_DESCRIPTION && !strcmp(obj->link, "anon_inode:[io_uring]");
}

bool is_memory(const struct crcore_object *obj)
{
	return obj->class_ == CRCORE_FILE && (!strcmp(obj->link, "anon_inode:[io_uring]") ||
	                                      !strcmp(obj->link, "/memfd:" MEMORY_NAME " (deleted)"));
}

static const struct pair *pair_of(const struct uring *u, ino_t ring)
{
	for (unsigned i = 0; i < u->npairs; i++)
		if (u->pairs[i].ring == ring)
			return &u->pairs[i];
	return NULL;
}

int note_memory(struct uring *u, const struct crcore_object *ring, const struct look *l,
                struct crcore_error *err)
{
	if (pair_of(u, ring->st.st_ino))
		return 0;
	if (!GROW(u->pairs, u->npairs))
		return crcore_no_memory(err);
	u->pairs[u->npairs++] = (struct pair){
		ring->st.st_ino, l->setup & SETUP_NO_MMAP ? l->memory : ring->st.st_ino };
	return 0;
}

/* Has a ring with this memory been seen, though it may have been refused? */
static bool is_known_memory(const struct uring *u, const struct crcore_object *obj)
{
	for (unsigned i = 0; i < u->npairs; i++)
		if (u->pairs[i].memory == obj->st.st_ino)
			return true;
	return false;
}

bool needs_other(const struct uring *u, const struct crcore_object *obj)
{
	const struct pair *p = pair_of(u, obj->st.st_ino);

	return is_memory(obj) ? !is_known_memory(u, obj) : p && p->memory != p->ring;
}

const struct crcore_object *other_of(const struct uring *u, const struct crcore_object *obj)
{
	const struct crcore_object *o;

	for (uint32_t i = 0; (o = u->host->object(u->ctx, i)); i++) {
		const struct crcore_object *ring = is_ring(obj) ? obj : o, *memory = is_ring(obj) ? o : obj;
		const struct pair *p = is_ring(ring) ? pair_of(u, ring->st.st_ino) : NULL;
		if (p && is_memory(memory) && p->memory == memory->st.st_ino)
			return o;
	}
	return NULL;
}

/* ---- setting up ------------------------------------------------------------------------- */

/* p->flags is what is wanted. Returns a descriptor. */
static int ring_setup(struct io_uring_params *p, uint32_t sq_entries, struct crcore_error *err)
{
	uint32_t flags = p->flags, cq_entries = p->cq_entries;
	int fd = (int)syscall(SYS_io_uring_setup, sq_entries, p);

	if (fd < 0) {
		int e = errno;
		if (e == EPERM)
			crcore_advise(err, "set kernel.io_uring_disabled to 0");
		return crcore_fail(err, -e, "a ring of %u entries with the flags %#x cannot be set up: %s",
		                   sq_entries, flags, strerror(e));
	}
	if (p->sq_entries == sq_entries && p->cq_entries == cq_entries)
		return fd;
	close(fd);
	return crcore_fail(err, -ENOTSUP, "the kernel sets up a ring of %u and %u entries, not of %u "
	                   "and %u", p->sq_entries, p->cq_entries, sq_entries, cq_entries);
}

int ring_try(uint32_t setup, uint32_t sq_entries, uint32_t cq_entries,
             struct io_uring_params *ret_p, struct crcore_error *err)
{
	*ret_p = (struct io_uring_params){ .flags = setup, .cq_entries = cq_entries };
	int fd = ring_setup(ret_p, sq_entries, err);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

/* ---- mapping ---------------------------------------------------------------------------- */

void ring_lengths(const struct io_uring_params *p, struct ring_memory *m)
{
	size_t cqes = p->cq_off.cqes +
	              (size_t)p->cq_entries * (p->flags & IORING_SETUP_CQE32 ? 32 : 16);
	size_t array = p->flags & SETUP_NO_SQARRAY ? 0 : p->sq_off.array + 4ul * p->sq_entries;

	m->p = *p;
	m->rings_len = cqes > array ? cqes : array;
	m->sqes_len = (size_t)p->sq_entries * (p->flags & IORING_SETUP_SQE128 ? 128 : 64);
}

int ring_map(int fd, const struct io_uring_params *p, struct ring_memory *m,
             struct crcore_error *err)
{
	*m = (struct ring_memory){ .fd = -1, .memory = -1 };
	ring_lengths(p, m);
	void *rings = mmap(NULL, m->rings_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
	                   IORING_OFF_SQ_RING);
	if (rings != MAP_FAILED)
		m->rings = rings;
	void *sqes = mmap(NULL, m->sqes_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
	if (sqes != MAP_FAILED)
		m->sqes = sqes;
	if (m->rings && m->sqes)
		return 0;
	int e = errno;
	ring_unmap(m);
	return crcore_fail(err, -e, "its memory cannot be mapped: %s", strerror(e));
}

void ring_unmap(struct ring_memory *m)
{
	if (m->rings)
		munmap(m->rings, m->rings_len);
	if (m->sqes)
		munmap(m->sqes, m->sqes_len);
	m->rings = m->sqes = NULL;
}

uint32_t *ring_word(const struct ring_memory *m, uint32_t offset)
{
	return (uint32_t *)(void *)(m->rings + offset);
}

/* ---- restore: a ring in a memfd --------------------------------------------------------- */

int ring_new_memory(const struct io_uring_params *p, struct crcore_error *err)
{
	struct ring_memory m;
	int fd = memfd_create(MEMORY_NAME, MFD_CLOEXEC);

	ring_lengths(p, &m);
	off_t end = (off_t)((IORING_OFF_SQES + m.sqes_len + PAGE - 1) & ~(PAGE - 1));
	if (fd >= 0 && ftruncate(fd, end) == 0)
		return fd;
	int e = errno;
	if (fd >= 0)
		close(fd);
	return crcore_fail(err, -e, "its memory cannot be made: %s", strerror(e));
}

static void give_memory(struct io_uring_params *p, const struct ring_memory *m)
{
	const uint64_t rings = (uintptr_t)m->rings, sqes = (uintptr_t)m->sqes;

	p->flags |= SETUP_NO_MMAP;
	memcpy((char *)p + RINGS_ADDRESS, &rings, sizeof(rings));
	memcpy((char *)p + SQES_ADDRESS, &sqes, sizeof(sqes));
}

int ring_in_memfd(uint32_t setup, uint32_t sq_entries, uint32_t cq_entries, struct ring_memory *m,
                  struct crcore_error *err)
{
	struct io_uring_params p;
	int r = ring_try(setup, sq_entries, cq_entries, &p, err), memory;

	if (r < 0 || (memory = r = ring_new_memory(&p, err)) < 0)
		return r;
	r = ring_map(memory, &p, m, err);
	if (r == 0) {
		struct io_uring_params wanted = { .flags = setup, .cq_entries = cq_entries };
		give_memory(&wanted, m);
		m->memory = memory;
		m->fd = r = ring_setup(&wanted, sq_entries, err);
	}
	if (r >= 0)
		return 0;
	ring_unmap(m);
	close(memory);
	crcore_advise(err, "use Linux 6.14 or newer");
	return r;
}
