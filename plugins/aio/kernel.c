/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts as the kernel has them: a table for each address space. */
#include "aio.h"

#define TABLE_MAX 65536 /* contexts of an address space; more can't be made without great effort */
#define REF_FLAGS 3ull           /* of percpu_ref.percpu_count_ptr */
#define REF_BIAS (1ull << 63)    /* of percpu_ref_data.count, while each processor counts */
#define IDLE 2                   /* what kioctx.reqs counts besides requests */

#define MEMBERS(X) \
	X(task_struct, mm, 8) X(mm_struct, ioctx_table, 8) X(kioctx_table, nr, 4) \
	X(kioctx_table, table, 0) X(kioctx, user_id, 8) X(kioctx, reqs, 16) X(kioctx, max_reqs, 4) \
	X(kioctx, nr_events, 4) X(kioctx, mmap_size, 8) \
	X(kioctx, active_reqs, 16) X(kioctx, tail, 4) X(kioctx, completed_events, 4) \
	X(kioctx, aio_ring_file, 8) X(percpu_ref, percpu_count_ptr, 8) \
	X(percpu_ref, data, 8) X(percpu_ref_data, count, 8) X(file, f_inode, 8) \
	X(inode, i_ino, 8)

struct kernel {
	struct peek *peek;
#define X(type, member, size) uint32_t type##_##member;
	MEMBERS(X)
#undef X
};

int kernel_open(struct kernel **ret, struct crcore_error *err)
{
	struct kernel *k = calloc(1, sizeof(*k));
	int r = k ? peek_open(&k->peek, err) : crcore_no_memory(err);

#define X(type, member, size) \
	if (r == 0) \
		r = peek_offset(k->peek, #type, #member, size, &k->type##_##member, err);
	MEMBERS(X)
#undef X
	if (r < 0) {
		kernel_close(k);
		return r;
	}
	*ret = k;
	return 0;
}

void kernel_close(struct kernel *k)
{
	if (k)
		peek_close(k->peek);
	free(k);
}

/* A member of the struct at base. Once something was not readable nothing more is read. */
struct look { struct kernel *k; int error; };

static uint64_t look(struct look *l, uint64_t base, uint32_t offset, uint32_t size)
{
	uint64_t v = 0;

	if (l->error == 0)
		l->error = base ? peek_read(l->k->peek, base + offset, -1, &v, size) : -ESRCH;
	return l->error ? 0 : v;
}
#define LOOK(l, base, type, member, size) look(l, base, (l)->k->type##_##member, size)

/*
 * Requests that the context counts, in the parts of all processors. Each is counted until
 * nothing of it is left to do: when its event is in the ring, and an eventfd was told of it.
 */
static uint64_t count_requests(struct look *l, uint64_t ctx)
{
	uint64_t ref = ctx + l->k->kioctx_reqs, parts = LOOK(l, ref, percpu_ref, percpu_count_ptr, 8);
	uint64_t n = LOOK(l, LOOK(l, ref, percpu_ref, data, 8), percpu_ref_data, count, 8);

	if (parts & REF_FLAGS) /* one count for all processors */
		return n - IDLE;
	for (int i = 0; i < peek_cpus(l->k->peek) && l->error == 0; i++) {
		uint64_t part = 0;
		l->error = peek_read(l->k->peek, parts, i, &part, 8);
		n += part; /* modulo: a request may end on another processor than it began on */
	}
	return n - REF_BIAS - IDLE;
}

static int read_context(struct look *l, uint64_t ctx, struct context *ret, struct crcore_error *err)
{
	uint64_t requests = count_requests(l, ctx);
	uint64_t list = ctx + l->k->kioctx_active_reqs;

	ret->address = LOOK(l, ctx, kioctx, user_id, 8);
	ret->size = LOOK(l, ctx, kioctx, mmap_size, 8);
	ret->slots = (uint32_t)LOOK(l, ctx, kioctx, nr_events, 4);
	ret->tail = (uint32_t)LOOK(l, ctx, kioctx, tail, 4);
	ret->requests = (uint32_t)LOOK(l, ctx, kioctx, max_reqs, 4);
	ret->unread = (uint32_t)LOOK(l, ctx, kioctx, completed_events, 4);
	ret->waits = look(l, list, 0, 8) != list;
	if (l->error < 0)
		return l->error;
	if (requests >= ret->slots || ret->unread >= ret->slots || ret->tail >= ret->slots)
		return crcore_fail(err, -ENOTSUP, "this kernel counts requests in a way that is not known: "
		                   "%lld of at most %u", (long long)requests, ret->slots - 1);
	ret->in_flight = (uint32_t)requests;
	return 1;
}

int kernel_find(struct kernel *k, pid_t pid, uint64_t inode, uint32_t number, struct context *ret,
                struct crcore_error *err)
{
	struct look l = { .k = k };
	uint64_t task, mm, table;
	uint32_t nr = 0;
	int r = peek_task(k->peek, pid, &task);

	if (r <= 0)
		return r < 0 ? crcore_fail(err, r, "process %d cannot be found in the kernel: %s", (int)pid,
		                           strerror(-r)) : 0;
	mm = LOOK(&l, task, task_struct, mm, 8);
	if (l.error || !mm) /* a zombie */
		return l.error;
	table = LOOK(&l, mm, mm_struct, ioctx_table, 8);
	if (table)
		nr = (uint32_t)LOOK(&l, table, kioctx_table, nr, 4);
	number = number < nr ? number : 0;
	for (uint32_t i = 0; i < nr && i < TABLE_MAX && l.error == 0; i++) {
		uint64_t ctx = look(&l, table, k->kioctx_table_table + 8 * ((number + i) % nr), 8);
		uint64_t file = ctx ? LOOK(&l, ctx, kioctx, aio_ring_file, 8) : 0;
		uint64_t node = file ? LOOK(&l, file, file, f_inode, 8) : 0;
		if (!node || LOOK(&l, node, inode, i_ino, 8) != inode)
			continue;
		ret->inode = inode;
		r = l.error ? l.error : read_context(&l, ctx, ret, err);
		return r < 0 ? crcore_fail(err, r, "it cannot be read: %s", strerror(-r)) : r;
	}
	return l.error ? crcore_fail(err, l.error, "the contexts of process %d cannot be read: %s",
	                             (int)pid, strerror(-l.error)) : 0;
}
