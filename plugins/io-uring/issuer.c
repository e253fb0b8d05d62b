/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings of one thread (IORING_SETUP_SINGLE_ISSUER, DEFER_TASKRUN): what is to be done with
 * them only that thread can do. It enables the ring, since it is its thread from then on,
 * and has it count; crcore cannot. For that it gets a ring of the largest size, which takes
 * few calls, and gives it its own size in the end (IORING_REGISTER_RESIZE_RINGS, since Linux
 * 6.13, for rings of this sort only).
 */
#include "io-uring.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#define REGISTER_RESIZE_RINGS 33
#define AT_ONCE 20 /* completions that one call brings */

bool is_of_one_thread(uint32_t setup)
{
	return setup & SETUP_SINGLE_ISSUER && !(setup & IORING_SETUP_R_DISABLED);
}

/* ---- dump ------------------------------------------------------------------------------- */

int issuer_find(struct uring *u, const struct crcore_object *obj, const struct look *l, pid_t *ret,
                struct crcore_error *err)
{
	uint64_t thread, task = 0;

	*ret = 0;
	if (!is_of_one_thread(l->setup))
		return 0;
	if (peek_number(u->peek, l->ctx, "io_ring_ctx", "submitter_task", &thread) == 0 &&
	    peek_task(u->peek, obj->pid, &task) == 1 && task == thread) {
		*ret = obj->pid;
		return 0;
	}
	crcore_advise(err, "let the first thread of the process make the ring, or start the program "
	              "without io_uring");
	return crcore_fail(err, -ENOTSUP, "it is for one thread (IORING_SETUP_SINGLE_ISSUER), which is "
	                   "not the first one of process %d", obj->pid);
}

/* Completions come to such a ring when its thread asks for them. */
void issuer_ask(struct uring *u, const struct crcore_object *obj, uint64_t ended,
                struct crcore_program *p)
{
	for (uint64_t i = 0; i <= ended / AT_ONCE; i++)
		u->host->call(p, "io-uring: bring completions", SYS_io_uring_enter,
		              ARGS(IMM(obj->fd), IMM(0), IMM(0), IMM(IORING_ENTER_GETEVENTS)), CRCORE_ANY,
		              0);
}

/* ---- restore ---------------------------------------------------------------------------- */

/* The large ring, with requests that do nothing to be counted by emit. */
static int make_large(const Uring__Ring *rec, struct made *made, struct crcore_error *err)
{
	struct ring_memory m;
	int r = ring_in_memfd(rec->setup | IORING_SETUP_R_DISABLED, SQ_ENTRIES_MAX, CQ_ENTRIES_MAX, &m,
	                      err);

	if (r < 0)
		return r;
	*ring_word(&m, m.p.sq_off.tail) = rec->submitted;
	ring_unmap(&m);
	made->large = m.memory;
	made->large_head = m.p.cq_off.head;
	return m.fd;
}

int issuer_create(struct made *made, struct crcore_error *err)
{
	const Uring__Ring *rec = made->rec;
	int r = ring_try(rec->setup, rec->sq_entries, rec->cq_entries, &made->p, err);

	if (r == 0)
		made->memory = r = ring_new_memory(&made->p, err);
	return r < 0 ? r : make_large(rec, made, err);
}

static void count(const struct crcore_host *host, struct crcore_program *p, const struct made *made,
                  uint32_t ring, uint32_t large)
{
	const Uring__Ring *rec = made->rec;
	uint32_t taken = rec->completed - made->unread;

	for (uint32_t k, n = 0; n < rec->submitted; n += k) {
		k = rec->submitted - n < SQ_ENTRIES_MAX ? rec->submitted - n : SQ_ENTRIES_MAX;
		host->call(p, "io-uring: count", SYS_io_uring_enter, ARGS(RESULT(ring), IMM(k)),
		           CRCORE_EQUAL, k);
		uint32_t head = n + k < taken ? n + k : taken;
		host->call(p, "io-uring: take completions", SYS_pwrite64,
		           ARGS(RESULT(large), DATA(host->data(p, &head, sizeof(head))), IMM(sizeof(head)),
		                IMM(made->large_head)), CRCORE_EQUAL, sizeof(head));
	}
}

static uint32_t map(const struct crcore_host *host, struct crcore_program *p, uint32_t memory,
                    size_t len, uint64_t offset)
{
	return host->call(p, "io-uring: map its memory", SYS_mmap,
	                  ARGS(IMM(0), IMM(len), IMM(PROT_READ | PROT_WRITE), IMM(MAP_SHARED),
	                       RESULT(memory), IMM(offset)),
	                  CRCORE_OK, 0);
}

/* It becomes as large as it was, in the memory that is its own. */
static void resize(const struct crcore_host *host, struct crcore_program *p,
                   const struct made *made, uint32_t ring, uint32_t memory)
{
	const Uring__Ring *rec = made->rec;
	const struct io_uring_params wanted = { .sq_entries = rec->sq_entries,
		                                    .cq_entries = rec->cq_entries,
		                                    .flags = IORING_SETUP_CQSIZE };
	struct ring_memory m;
	uint32_t params = host->data(p, &wanted, sizeof(wanted)), rings, sqes;

	ring_lengths(&made->p, &m);
	rings = map(host, p, memory, m.rings_len, IORING_OFF_SQ_RING);
	sqes = map(host, p, memory, m.sqes_len, IORING_OFF_SQES);
	host->store(p, "io-uring: where the rings are", params, RINGS_ADDRESS, sizeof(uint64_t), rings);
	host->store(p, "io-uring: where the requests are", params, SQES_ADDRESS, sizeof(uint64_t),
	            sqes);
	host->call(p, "io-uring: resize", SYS_io_uring_register,
	           ARGS(RESULT(ring), IMM(REGISTER_RESIZE_RINGS), DATA(params), IMM(1)), CRCORE_EQUAL,
	           0);
	host->call(p, "io-uring: unmap", SYS_munmap, ARGS(RESULT(rings), IMM(m.rings_len)),
	           CRCORE_EQUAL, 0);
	host->call(p, "io-uring: unmap", SYS_munmap, ARGS(RESULT(sqes), IMM(m.sqes_len)), CRCORE_EQUAL,
	           0);
}

int issuer_emit(struct uring *u, struct made *made, struct crcore_program *p,
                struct crcore_error *err)
{
	const struct crcore_host *host = u->host;
	uint32_t ring, large, memory;
	int r = host->fetch(u->ctx, p, made->rec->id, &ring, err);

	if (r < 0 || (r = host->hand(u->ctx, p, made->large, &large, err)) < 0 ||
	    (r = host->hand(u->ctx, p, made->memory, &memory, err)) < 0)
		return r;
	host->call(p, "io-uring: enable", SYS_io_uring_register,
	           ARGS(RESULT(ring), IMM(IORING_REGISTER_ENABLE_RINGS)), CRCORE_EQUAL, 0);
	count(host, p, made, ring, large);
	resize(host, p, made, ring, memory);
	host->call(p, "io-uring: close", SYS_close, ARGS(RESULT(ring)), CRCORE_EQUAL, 0);
	host->call(p, "io-uring: close", SYS_close, ARGS(RESULT(large)), CRCORE_EQUAL, 0);
	host->call(p, "io-uring: close", SYS_close, ARGS(RESULT(memory)), CRCORE_EQUAL, 0);
	return 0;
}
