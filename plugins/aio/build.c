/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: what a task does to have a context again. io_setup(2) makes an empty one
 * somewhere; moved to the old address it has the old number. Then reads of nothing, which
 * are done at once, bring the kernel to where it was in the ring: all are taken out again
 * but as many as there were unread events, whose places these get. They are put there from a
 * file, of which the nothing is read as well.
 *
 * No slot may be missing in the end, and the kernel keeps some at hand for each processor that
 * a task was on. So it stays on one where nearly all are needed.
 */
#include "aio.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "plugins/args.h"

#define BATCH 256      /* requests in one call */
#define CPUS_SIZE 1024 /* bytes: 8192 processors, as many as the kernel may have */

struct build {
	const struct crcore_host *host;
	struct crcore_program *p;
	const Aio__Context *rec;
	uint32_t unread;           /* events */
	uint32_t taken, batch;     /* requests before them, how many of these at once */
	uint32_t requests, events; /* data: pointers to one request, and room for results */
};

static uint32_t call(const struct build *b, const char *label, uint32_t nr,
                     const struct crcore_arg args[6], int64_t want)
{
	return b->host->call(b->p, label, nr, args, CRCORE_EQUAL, want);
}

/* The kernel would choose just the place that the ring is to have, and cannot move it
 * there then; so that is taken meanwhile. */
static void setup(const struct build *b)
{
	const Aio__Context *r = b->rec;
	uint32_t id = b->host->data(b->p, NULL, sizeof(aio_context_t));

	call(b, "aio: keep place of ring", SYS_mmap, ARGS(IMM(r->address), IMM(r->size), IMM(PROT_NONE),
	     IMM(MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED), IMM(-1)), (int64_t)r->address);
	call(b, "aio: make context", SYS_io_setup, ARGS(IMM(r->requests), DATA(id)), 0);
	uint32_t made = b->host->load(b->p, "aio: see where its ring is", id, 0);
	call(b, "aio: move ring", SYS_mremap, ARGS(RESULT(made), IMM(r->size), IMM(r->size),
	     IMM(MREMAP_MAYMOVE | MREMAP_FIXED), IMM(r->address)), (int64_t)r->address);
}

/* A processor that we may use, the task may too. */
static uint32_t one_cpu(const struct build *b)
{
	uint8_t mask[CPUS_SIZE] = { 0 };
	int cpu = sched_getcpu();

	if (cpu >= 0 && cpu < CPUS_SIZE * 8)
		mask[cpu / 8] = (uint8_t)(1u << cpu % 8);
	return b->host->data(b->p, mask, sizeof(mask));
}

static void submit(const struct build *b, uint32_t n)
{
	call(b, "aio: submit reads of nothing", SYS_io_submit, ARGS(IMM(b->rec->address), IMM(n),
	     DATA(b->requests)), n);
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The request is n times the same. It gets its descriptor when that is known. */
static void prepare(struct build *b, uint32_t fd_op)
{
	uint32_t before = least(b->taken, b->batch), after = least(b->unread, BATCH);
	uint32_t most = before > after ? before : after;
	const struct iocb request = { .aio_lio_opcode = IOCB_CMD_PREAD };
	uint32_t one = b->host->data(b->p, &request, sizeof(request));

	b->host->store(b->p, "aio: name descriptor", one, offsetof(struct iocb, aio_fildes), 4, fd_op);
	b->requests = b->host->data(b->p, NULL, most * sizeof(uint64_t));
	for (unsigned i = 0; i < most; i++)
		b->host->pointer(b->p, b->requests, i * sizeof(uint64_t), one, 0);
	b->events = b->host->data(b->p, NULL, before * EVENT_SIZE);
}

/* Brings the kernel's tail, and the head, to where they were. */
static void advance(const struct build *b)
{
	for (uint32_t left = b->taken, n; left; left -= n) {
		submit(b, n = least(left, b->batch));
		call(b, "aio: take out results", SYS_io_getevents,
		     ARGS(IMM(b->rec->address), IMM(n), IMM(n), DATA(b->events)), n);
	}
	for (uint32_t left = b->unread, n; left; left -= n)
		submit(b, n = least(left, BATCH));
}

static void read_part(const struct build *b, uint32_t fd_op, uint32_t slot, uint32_t n)
{
	uint64_t at = slot_offset(slot), len = n * EVENT_SIZE;

	if (n)
		call(b, "aio: read events", SYS_pread64, ARGS(RESULT(fd_op), IMM(b->rec->address + at),
		     IMM(len), IMM(at)), (int64_t)len);
}

static void read_events(const struct build *b, uint32_t fd_op)
{
	uint32_t head = (b->rec->tail + b->rec->slots - b->unread) % b->rec->slots;
	uint32_t first = least(b->unread, b->rec->slots - head);

	read_part(b, fd_op, head, first);
	read_part(b, fd_op, 0, b->unread - first);
}

/* Half of the slots are to be had on any processor. */
static bool is_crowded(const struct build *b)
{
	return b->unread >= b->rec->slots / 4;
}

static int refill(struct aio *a, struct build *b, struct crcore_error *err)
{
	uint32_t cpus = 0, file_op;
	int r = a->host->fetch(a->ctx, b->p, b->rec->object, &file_op, err);

	if (r < 0)
		return r;
	if (is_crowded(b)) {
		uint32_t cpu = one_cpu(b);
		cpus = b->host->data(b->p, NULL, CPUS_SIZE);
		b->host->call(b->p, "aio: ask for processors", SYS_sched_getaffinity,
		              ARGS(IMM(0), IMM(CPUS_SIZE), DATA(cpus)), CRCORE_OK, 0);
		b->host->call(b->p, "aio: stay on one processor", SYS_sched_setaffinity,
		              ARGS(IMM(0), IMM(CPUS_SIZE), DATA(cpu)), CRCORE_ANY, 0);
	}
	prepare(b, file_op);
	advance(b);
	read_events(b, file_op);
	if (is_crowded(b))
		call(b, "aio: leave the processor", SYS_sched_setaffinity,
		     ARGS(IMM(0), IMM(CPUS_SIZE), DATA(cpus)), 0);
	call(b, "aio: close file", SYS_close, ARGS(RESULT(file_op)), 0);
	return 0;
}

static bool is_owner(const Aio__Context *rec, pid_t pid)
{
	for (size_t i = 0; i < rec->n_pids; i++)
		if (rec->pids[i] == (uint32_t)pid)
			return true;
	return false;
}

int aio_map(void *state, uint32_t object, const struct crcore_mapping *const *v, uint32_t n,
            uint64_t scratch, uint64_t scratch_len, struct crcore_program *p,
            struct crcore_error *err)
{
	struct aio *a = state;
	const Aio__Context *rec = aio_find(a, object);
	struct build b = { .host = a->host, .p = p, .rec = rec };
	int r;

	if (!rec)
		return crcore_fail(err, -EBADMSG, "there is no record of object %u", object);
	if (!is_owner(rec, v[0]->pid))
		return 0; /* handed down by a parent: only memory */
	if (n != 1 || v[0]->start != rec->address || v[0]->end - v[0]->start != rec->size)
		return crcore_fail(err, -EBADMSG, "the ring of an AIO context is not where its record "
		                   "says");
	b.unread = (uint32_t)(rec->events.len / EVENT_SIZE);
	b.taken = rec->tail - b.unread + (rec->tail < b.unread ? rec->slots : 0);
	b.batch = rec->slots < 8 ? 1 : least(rec->slots / 4, BATCH);
	setup(&b);
	r = rec->tail || b.unread ? refill(a, &b, err) : 0;
	if (v[0]->prot != (PROT_READ | PROT_WRITE))
		call(&b, "aio: protect ring", SYS_mprotect, ARGS(IMM(rec->address), IMM(rec->size),
		     IMM(v[0]->prot)), 0);
	return r < 0 ? r : 1;
}
