/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: records, whether they make sense, and rings. */
#include "io-uring.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include "plugins/tasks.h"

#define OFFSETS 0xf8000000u /* the part of an offset that says what is mapped */

/* ---- records ---------------------------------------------------------------------------- */

static bool is_power(uint32_t n)
{
	return n && !(n & (n - 1));
}

static bool sane(const Uring__Ring *rec)
{
	return rec->id && !(rec->setup & ~SETUP_KNOWN) && is_power(rec->sq_entries) &&
	       is_power(rec->cq_entries) && rec->sq_entries <= SQ_ENTRIES_MAX &&
	       rec->cq_entries <= CQ_ENTRIES_MAX && rec->sq_entries <= rec->cq_entries &&
	       is_of_one_thread(rec->setup) == (rec->issuer != 0) &&
	       (!rec->issuer || rec->submitted == rec->completed);
}

int uring_load_record(void *state, const char *section, uint32_t version, const void *msg,
                      size_t len, struct crcore_error *err)
{
	struct uring *u = state;

	if (!strcmp(section, "mapping")) {
		if (!GROW(u->mappings, u->nmappings))
			return crcore_no_memory(err);
		Uring__Mapping *m = uring__mapping__unpack(NULL, len, msg);
		if (!m)
			return crcore_fail(err, -EBADMSG, "the record of a mapping is damaged");
		u->mappings[u->nmappings++] = m;
		return 0;
	}
	if (!GROW(u->made, u->nmade))
		return crcore_no_memory(err);
	Uring__Ring *rec = uring__ring__unpack(NULL, len, msg);
	if (!rec)
		return crcore_fail(err, -EBADMSG, "the record of a ring is damaged");
	u->made[u->nmade++] = (struct made){ .rec = rec, .memory = -1, .large = -1 };
	return sane(rec) ? 0 :
	       crcore_fail(err, -EBADMSG, "the record of ring %u makes no sense", rec->id);
}

static struct made *find_ring(const struct uring *u, uint32_t id)
{
	for (unsigned i = 0; i < u->nmade; i++)
		if (u->made[i].rec->id == id)
			return &u->made[i];
	return NULL;
}

static const Uring__Mapping *find_mapping(const struct uring *u, uint32_t id)
{
	for (unsigned i = 0; i < u->nmappings; i++)
		if (u->mappings[i]->id == id)
			return u->mappings[i];
	return NULL;
}

static uint32_t saved_word(const Uring__Ring *rec, uint32_t offset)
{
	uint32_t word = 0;

	if (offset + sizeof(word) <= rec->rings.len)
		memcpy(&word, rec->rings.data + offset, sizeof(word));
	else if (offset < rec->rings.len)
		memcpy(&word, rec->rings.data + offset, rec->rings.len - offset);
	return word;
}

/* Does the memory that was saved belong to a ring like the one that is mapped? */
static int check_memory(const Uring__Ring *rec, const struct ring_memory *m,
                        struct crcore_error *err)
{
	const struct io_sqring_offsets *sq = &m->p.sq_off;
	const struct io_cqring_offsets *cq = &m->p.cq_off;

	if (rec->rings.len <= m->rings_len && rec->sqes.len <= m->sqes_len &&
	    saved_word(rec, sq->ring_mask) == rec->sq_entries - 1 &&
	    saved_word(rec, cq->ring_mask) == rec->cq_entries - 1 &&
	    saved_word(rec, sq->ring_entries) == rec->sq_entries &&
	    saved_word(rec, cq->ring_entries) == rec->cq_entries &&
	    saved_word(rec, sq->head) == rec->submitted && saved_word(rec, cq->tail) == rec->completed)
		return 0;
	crcore_advise(err, "restore under a kernel like that of the dump");
	return crcore_fail(err, -EBADMSG, "its memory is not as this kernel has it");
}

/* Makes one, to see that it can be made. */
static int check_ring(struct uring *u, const Uring__Ring *rec, struct crcore_error *err)
{
	struct ring_memory m;
	int r = ring_in_memfd(rec->setup, rec->sq_entries, rec->cq_entries, &m, err);

	if (r < 0)
		return r;
	r = check_memory(rec, &m, err);
	ring_unmap(&m);
	close(m.fd);
	close(m.memory);
	if (r < 0 || ring_steps(rec->submitted, rec->completed) <= u->count_limit)
		return r;
	crcore_advise(err, "raise io-uring.count-limit");
	return crcore_fail(err, -E2BIG, "it had taken %u requests, which is to be counted up to",
	                   rec->submitted);
}

static int by_id(const void *a, const void *b)
{
	const struct made *x = a, *y = b;

	return (x->rec->id > y->rec->id) - (x->rec->id < y->rec->id);
}

int uring_check(void *state, struct crcore_error *err)
{
	struct uring *u = state;
	int r = 0;

	if (u->nmade)
		qsort(u->made, u->nmade, sizeof(*u->made), by_id);
	for (unsigned i = 0; r == 0 && i < u->nmade; i++) {
		if (i && u->made[i - 1].rec->id == u->made[i].rec->id)
			r = crcore_fail(err, -EBADMSG, "two records are of it");
		if (r == 0 && u->made[i].rec->issuer &&
		    !task_find(u->host, u->ctx, (pid_t)u->made[i].rec->issuer))
			r = crcore_fail(err, -EBADMSG, "it is for process %u, which is not in the image",
			                u->made[i].rec->issuer);
		if (r == 0)
			r = check_ring(u, u->made[i].rec, err);
		if (r < 0)
			crcore_fail_at(err, -1, -1, "io_uring %u", u->made[i].rec->id);
	}
	for (unsigned i = 0; r == 0 && i < u->nmappings; i++)
		if (!u->mappings[i]->id || !find_ring(u, u->mappings[i]->ring))
			r = crcore_fail(err, -EBADMSG, "what is mapped of ring %u has no record",
			                u->mappings[i]->ring);
	return r;
}

/* ---- rings ------------------------------------------------------------------------------ */

static void fill(uint8_t *to, size_t len, const ProtobufCBinaryData *from)
{
	memcpy(to, from->data, from->len);
	memset(to + from->len, 0, len - from->len);
}

/* Completions that the program had not taken; what it makes of its own part is its business. */
static uint32_t unread(const Uring__Ring *rec, const struct io_uring_params *p)
{
	uint32_t n = rec->completed - saved_word(rec, p->cq_off.head);

	return n > rec->cq_entries ? 0 : n;
}

/* When it has counted: now what that did not matter for is put into it. */
static int finish(const Uring__Ring *rec, const struct ring_memory *m, struct crcore_error *err)
{
	const uint32_t submitted = *ring_word(m, m->p.sq_off.head);
	const uint32_t completed = *ring_word(m, m->p.cq_off.tail);

	if (submitted != rec->submitted || completed != rec->completed)
		return crcore_fail(err, -EIO, "the new ring counts %u requests and %u completions, not %u "
		                   "and %u", submitted, completed, rec->submitted, rec->completed);
	fill(m->rings, m->rings_len, &rec->rings);
	fill(m->sqes, m->sqes_len, &rec->sqes);
	return 0;
}

static int bring_back(struct uring *u, const Uring__Ring *rec, const struct ring_memory *m,
                      struct crcore_error *err)
{
	int r = check_memory(rec, m, err);

	if (r == 0)
		r = ring_count(u, m, rec, unread(rec, &m->p), err);
	return r < 0 ? r : finish(rec, m, err);
}

static int make_counted(struct uring *u, struct made *made, struct crcore_error *err)
{
	const Uring__Ring *rec = made->rec;
	struct ring_memory m;
	int r = ring_in_memfd(rec->setup, rec->sq_entries, rec->cq_entries, &m, err);

	if (r < 0)
		return r;
	made->memory = m.memory;
	r = bring_back(u, rec, &m, err);
	ring_unmap(&m);
	if (r == 0)
		return m.fd;
	close(m.fd);
	return r;
}

static int make(struct uring *u, struct made *made, struct crcore_error *err)
{
	const Uring__Ring *rec = made->rec;
	int fd = rec->issuer ? issuer_create(made, err) : make_counted(u, made, err);

	made->unread = fd < 0 || !rec->issuer ? 0 : unread(rec, &made->p);
	if (fd >= 0 && rec->flags & O_NONBLOCK && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
		int e = errno;
		close(fd);
		fd = crcore_fail(err, -e, "cannot set O_NONBLOCK: %s", strerror(e));
	}
	if (fd < 0)
		crcore_fail_at(err, -1, -1, "io_uring %u", rec->id);
	return fd;
}

int uring_emit(void *state, const struct crcore_task *task, uint32_t phase,
               struct crcore_program *p, struct crcore_error *err)
{
	struct uring *u = state;
	int r = 0;

	for (unsigned i = 0; r == 0 && phase == CRCORE_PHASE_FILES && i < u->nmade; i++)
		if (u->made[i].rec->issuer == (uint32_t)task->pid)
			r = issuer_emit(u, &u->made[i], p, err);
	return r;
}

/* The ring of one thread, which has counted it. */
static int finish_issued(const struct made *made, struct crcore_error *err)
{
	struct ring_memory m;
	int r = ring_map(made->memory, &made->p, &m, err);

	if (r < 0)
		return r;
	r = finish(made->rec, &m, err);
	ring_unmap(&m);
	return r;
}

int uring_settle(void *state, struct crcore_error *err)
{
	struct uring *u = state;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < u->nmade; i++)
		if (u->made[i].rec->issuer && (r = finish_issued(&u->made[i], err)) < 0)
			crcore_fail_at(err, -1, -1, "io_uring %u", u->made[i].rec->id);
	return r;
}

int uring_plan(void *state, uint32_t id, uint32_t *ret_needs, uint32_t max,
               struct crcore_error *err)
{
	const Uring__Mapping *m = find_mapping(state, id);

	if (m && max)
		ret_needs[0] = m->ring;
	return m != NULL;
}

int uring_create(void *state, uint32_t id, struct crcore_error *err)
{
	struct uring *u = state;
	struct made *made = find_ring(u, id);
	const Uring__Mapping *m = find_mapping(u, id);
	int fd;

	if (made)
		return make(u, made, err);
	if (!m)
		return crcore_fail(err, -EBADMSG, "there is no record of object %u", id);
	if ((fd = u->host->need(u->ctx, m->ring, err)) < 0)
		return fd;
	fd = fcntl(find_ring(u, m->ring)->memory, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? crcore_fail(err, -errno, "cannot keep its memory: %s", strerror(errno)) : fd;
}

/* In a ring the completions can be mapped a second time, at an offset of their own. */
int uring_map(void *state, uint32_t id, const struct crcore_mapping *const *v, uint32_t n,
              uint64_t scratch, uint64_t scratch_len, struct crcore_program *p,
              struct crcore_error *err)
{
	const struct uring *u = state;
	const struct crcore_host *host = u->host;
	uint32_t fd, i;

	for (i = 0; i < n && (v[i]->offset & OFFSETS) != IORING_OFF_CQ_RING; i++)
		;
	if (i == n)
		return 0;
	int r = host->fetch(u->ctx, p, id, &fd, err);
	for (i = 0; r == 0 && i < n; i++) {
		uint64_t offset = v[i]->offset;
		if ((offset & OFFSETS) == IORING_OFF_CQ_RING)
			offset -= IORING_OFF_CQ_RING;
		host->call(p, "io-uring: map", SYS_mmap,
		           ARGS(IMM(v[i]->start), IMM(v[i]->end - v[i]->start), IMM(v[i]->prot),
		                IMM(MAP_SHARED | MAP_FIXED), RESULT(fd), IMM(offset)),
		           CRCORE_EQUAL, (int64_t)v[i]->start);
	}
	host->call(p, "io-uring: close", SYS_close, ARGS(RESULT(fd)), CRCORE_EQUAL, 0);
	return r < 0 ? r : 1;
}
