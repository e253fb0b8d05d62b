/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts as the kernel has them: a table for each address space. A context has a slot of
 * its ring for each request in flight and for each event that was not read; the others are
 * available, some of them kept at hand for each processor. So what is in flight is what is
 * left of all slots.
 */
#include "aio.h"

#define TABLE_MAX 65536 /* contexts of an address space; more can't be made without great effort */
#define MEMBERS(X) \
	X(task_struct, mm, 8) X(mm_struct, ioctx_table, 8) X(kioctx_table, nr, 4) \
	X(kioctx_table, table, 0) X(kioctx, user_id, 8) X(kioctx, cpu, 8) X(kioctx, max_reqs, 4) \
	X(kioctx, nr_events, 4) X(kioctx, mmap_size, 8) X(kioctx, reqs_available, 4) \
	X(kioctx, active_reqs, 16) X(kioctx, tail, 4) X(kioctx, completed_events, 4) \
	X(kioctx, aio_ring_file, 8) X(kioctx_cpu, reqs_available, 4) X(file, f_inode, 8) \
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
	int r = k ? peek_open(&k->peek, err) : crcore_fail(err, -ENOMEM, "out of memory");

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

/* Slots that are not in use. */
static uint64_t available(struct look *l, uint64_t ctx)
{
	uint64_t n = LOOK(l, ctx, kioctx, reqs_available, 4), cpu = LOOK(l, ctx, kioctx, cpu, 8);

	for (int i = 0; i < peek_cpus(l->k->peek) && l->error == 0; i++) {
		uint32_t at_hand = 0;
		l->error = peek_read(l->k->peek, cpu + l->k->kioctx_cpu_reqs_available, i, &at_hand, 4);
		n += at_hand;
	}
	return n;
}

static int read_context(struct look *l, uint64_t ctx, struct context *ret, struct crcore_error *err)
{
	uint64_t free_slots = available(l, ctx);
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
	ret->in_flight = (uint32_t)(ret->slots - 1 - free_slots - ret->unread);
	if (free_slots + ret->unread >= ret->slots || ret->tail >= ret->slots)
		return crcore_fail(err, -ENOTSUP, "this kernel counts requests in a way that is not known: %u "
		                   "slots, %llu available, %u done", ret->slots,
		                   (unsigned long long)free_slots, ret->unread);
	return 1;
}

int kernel_find(struct kernel *k, pid_t pid, uint64_t inode, struct context *ret,
                struct crcore_error *err)
{
	struct look l = { .k = k };
	uint64_t task = peek_task(k->peek, pid), mm, table;
	uint32_t nr = 0;

	if (!task)
		return 0;
	mm = LOOK(&l, task, task_struct, mm, 8);
	if (l.error || !mm) /* a zombie */
		return l.error;
	table = LOOK(&l, mm, mm_struct, ioctx_table, 8);
	if (table)
		nr = (uint32_t)LOOK(&l, table, kioctx_table, nr, 4);
	for (uint32_t i = 0; i < nr && i < TABLE_MAX && l.error == 0; i++) {
		uint64_t ctx = look(&l, table, k->kioctx_table_table + 8 * i, 8);
		uint64_t file = ctx ? LOOK(&l, ctx, kioctx, aio_ring_file, 8) : 0;
		uint64_t node = file ? LOOK(&l, file, file, f_inode, 8) : 0;
		if (!node || LOOK(&l, node, inode, i_ino, 8) != inode)
			continue;
		ret->inode = inode;
		int r = l.error ? l.error : read_context(&l, ctx, ret, err);
		return r < 0 ? crcore_fail(err, r, "it cannot be read: %s", strerror(-r)) : r;
	}
	return l.error ? crcore_fail(err, l.error, "the contexts of process %d cannot be read: %s",
	                             (int)pid, strerror(-l.error)) : 0;
}
