/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: whose a ring is, that nothing is in flight when all stands still, and the events
 * in it that the program has not read yet.
 */
#include "aio.h"

#include <inttypes.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define STEP_NS 1000000 /* between two looks at what is in flight */
#define EMPTY_STEPS 200
#define AFRESH "let the program end the context (io_destroy) before the dump and make another"

static int fail_at(const struct crcore_object *obj, int r, struct crcore_error *err)
{
	crcore_fail_at(err, obj->pid, -1, "AIO context %#" PRIx64, obj->start);
	return r;
}

static int copy(pid_t pid, uint64_t address, void *to, size_t len, struct crcore_error *err)
{
	struct iovec local = { to, len }, remote = { (void *)(uintptr_t)address, len };
	ssize_t n = process_vm_readv(pid, &local, 1, &remote, 1, 0);

	return n == (ssize_t)len ? 0 :
	       crcore_fail(err, n < 0 ? -errno : -EIO, "its ring cannot be read: %s",
	                   strerror(n < 0 ? errno : EIO));
}

/* The context of a ring: 1, 0: there is none. *ret_pid: a task that has it. */
static int find_context(struct aio *a, const struct crcore_object *obj, struct context *ret,
                        pid_t *ret_pid, struct crcore_error *err)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	const struct crcore_task *t;
	struct ring ring = { 0 };

	copy(obj->pid, obj->start, &ring, sizeof(ring), &ignored);
	*ret_pid = obj->pid;
	int r = kernel_find(a->kernel, obj->pid, obj->st.st_ino, ring.id, ret, err);
	for (uint32_t i = 0; r == 0 && (t = a->host->task(a->ctx, i)); i++) {
		*ret_pid = t->pid;
		r = kernel_find(a->kernel, t->pid, obj->st.st_ino, ring.id, ret, err);
	}
	return r;
}

/* The kernel empties the ring of a context that is destroyed some moments later. */
static bool is_destroyed(const struct crcore_object *obj)
{
	const struct timespec step = { .tv_nsec = STEP_NS };
	struct stat st = obj->st;
	char path[80];

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, obj->pid, obj->start,
	         obj->end);
	for (unsigned i = 0; st.st_size && i < EMPTY_STEPS; i++) {
		nanosleep(&step, NULL);
		if (stat(path, &st) < 0)
			return false;
	}
	return !st.st_size;
}

/* The same while the tree stands still. 0: it has been destroyed. */
static int need_context(struct aio *a, const struct crcore_object *obj, struct context *ret,
                        pid_t *ret_pid, struct crcore_error *err)
{
	int r = find_context(a, obj, ret, ret_pid, err);

	if (r || is_destroyed(obj))
		return r;
	crcore_advise(err, "dump a tree that holds that process too, or let the program unmap it");
	return crcore_fail(err, -ENOTSUP, "what is mapped is the ring of a process outside of the "
	                   "tree");
}

static int refuse_waiting(struct crcore_error *err)
{
	crcore_advise(err, "let the program cancel them (io_cancel) before the dump");
	return crcore_fail(err, -EBUSY, "a request is in flight that waits for an event "
	                   "(IOCB_CMD_POLL), and so may never end");
}

static int claim_frozen(struct aio *a, const struct crcore_object *obj, struct crcore_error *err)
{
	struct context c;
	pid_t pid;
	int r = need_context(a, obj, &c, &pid, err);

	if (r > 0 && c.waits)
		return refuse_waiting(err);
	if (r > 0 && (obj->start != c.address || obj->end - obj->start != c.size)) {
		crcore_advise(err, AFRESH);
		return crcore_fail(err, -ENOTSUP, "its ring is not mapped as one piece, as io_setup(2) did "
		                   "it");
	}
	return r;
}

/* It may change or go while it is looked at. */
static int claim_running(struct aio *a, const struct crcore_object *obj, struct crcore_error *err)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct context c;
	pid_t pid;

	return find_context(a, obj, &c, &pid, &ignored) > 0 && c.waits ? refuse_waiting(err) : 0;
}

int aio_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct aio *a = state;
	int r;

	if (obj->class_ != CRCORE_FILE || obj->use != CRCORE_USE_MAPPING ||
	    strcmp(obj->link, RING_NAME))
		return CRCORE_CLAIM_NONE;
	r = a->kernel ? 0 : kernel_open(&a->kernel, err);
	if (r == 0)
		r = a->host->found(a->ctx, -1, err) > 0 ? claim_frozen(a, obj, err)
		                                        : claim_running(a, obj, err);
	return r < 0 ? fail_at(obj, r, err) : CRCORE_CLAIM_EXACT;
}

/* The tree stands still, so requests only become fewer. */
static int wait_until_idle(struct aio *a, const struct crcore_object *obj, uint64_t until,
                           struct crcore_error *err)
{
	const struct timespec step = { .tv_nsec = STEP_NS };
	struct context c;
	pid_t pid;
	int r;

	while ((r = need_context(a, obj, &c, &pid, err)) > 0 && c.in_flight) {
		if (c.waits)
			return refuse_waiting(err);
		if (now_ns() >= until) {
			crcore_advise(err, "try again when the program does less, or set wait for aio in the "
			              "policy");
			return crcore_fail(err, -EBUSY, "%u requests are in flight, and have not ended within "
			                   "%.3g s", c.in_flight, (double)a->wait_ns / 1e9);
		}
		a->host->alive(a->ctx);
		nanosleep(&step, NULL);
	}
	return r < 0 ? r : 0;
}

int aio_hold(void *state, struct crcore_error *err)
{
	struct aio *a = state;
	uint64_t until = now_ns() + (uint64_t)a->wait_ns;
	const struct crcore_object *obj;

	for (uint32_t i = 0; (obj = a->host->object(a->ctx, i)); i++) {
		int r = wait_until_idle(a, obj, until, err);
		if (r < 0)
			return fail_at(obj, r, err);
	}
	return 0;
}

/* ---- records ---- */

/* Events from head to tail, in two parts if they go past the end of the ring. */
static int copy_events(pid_t pid, const struct context *c, Aio__Context *rec,
                       struct crcore_error *err)
{
	struct ring ring;
	int r = copy(pid, c->address, &ring, sizeof(ring), err);

	if (r < 0)
		return r;
	if (ring.magic != RING_MAGIC || ring.nr != c->slots || ring.tail != c->tail) {
		crcore_advise(err, AFRESH);
		return crcore_fail(err, -ENOTSUP, "the program has written to the head of its ring");
	}
	uint32_t head = ring.head % c->slots, n = (c->tail + c->slots - head) % c->slots;
	uint32_t first = n < c->slots - head ? n : c->slots - head;
	if (n > c->unread) {
		crcore_advise(err, AFRESH);
		return crcore_fail(err, -ENOTSUP, "the program has moved the head of its ring to where "
		                   "there are no events");
	}
	rec->events.len = n * EVENT_SIZE;
	rec->events.data = malloc(rec->events.len + 1);
	if (!rec->events.data)
		return crcore_no_memory(err);
	if (first)
		r = copy(pid, c->address + slot_offset(head), rec->events.data, first * EVENT_SIZE, err);
	if (r == 0 && n > first)
		r = copy(pid, c->address + slot_offset(0), rec->events.data + first * EVENT_SIZE,
		         (n - first) * EVENT_SIZE, err);
	return r;
}

/* Tasks may share an address space, and so its contexts. */
static int list_owners(struct aio *a, pid_t pid, Aio__Context *rec, struct crcore_error *err)
{
	const struct crcore_task *t;

	for (uint32_t i = 0; (t = a->host->task(a->ctx, i)); i++) {
		if (t->pid != pid && syscall(SYS_kcmp, pid, t->pid, KCMP_VM, 0, 0) != 0)
			continue;
		if (!GROW(rec->pids, rec->n_pids))
			return crcore_no_memory(err);
		rec->pids[rec->n_pids++] = (uint32_t)t->pid;
	}
	return 0;
}

int aio_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct aio *a = state;
	Aio__Context rec = AIO__CONTEXT__INIT;
	struct context c = { 0 };
	pid_t pid;
	int r = need_context(a, obj, &c, &pid, err);

	rec.object = obj->id;
	rec.address = c.address;
	rec.size = c.size;
	rec.slots = c.slots;
	rec.tail = c.tail;
	rec.requests = c.requests;
	if (r > 0 && (r = list_owners(a, pid, &rec, err)) == 0)
		r = copy_events(pid, &c, &rec, err);
	if (r == 0)
		r = record_put(a->host, a->ctx, "context", &rec.base, err);
	free(rec.pids);
	free(rec.events.data);
	return r < 0 ? fail_at(obj, r, err) : 0;
}
