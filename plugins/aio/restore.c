/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: records, and whether this machine can make such contexts. */
#include "aio.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static bool is_valid(const Aio__Context *r)
{
	if (!r->object)
		return false;
	if (!r->n_pids) /* a ring without a context has no contents either */
		return !r->slots && !r->events.len;
	return r->slots >= 2 && r->slots <= SLOTS_MAX && r->tail < r->slots && r->requests &&
	       r->address % PAGE == 0 && r->address && r->size % PAGE == 0 &&
	       r->size >= slot_offset(r->slots) && r->size < slot_offset(r->slots) + PAGE &&
	       r->address + r->size > r->address && r->events.len % EVENT_SIZE == 0 &&
	       r->events.len / EVENT_SIZE < r->slots;
}

int aio_load_record(void *state, const char *section, uint32_t version, const void *msg, size_t len,
                    struct crcore_error *err)
{
	struct aio *a = state;
	Aio__Context *rec = aio__context__unpack(NULL, len, msg);

	if (!rec)
		return crcore_fail(err, -EBADMSG, "a record of section context is damaged");
	if (!GROW(a->recs, a->nrecs)) {
		aio__context__free_unpacked(rec, NULL);
		return crcore_no_memory(err);
	}
	a->recs[a->nrecs++] = rec;
	if (!is_valid(rec) || aio_find(a, rec->object) != rec)
		return crcore_fail(err, -EBADMSG, "a record of section context makes no sense");
	return 0;
}

const Aio__Context *aio_find(const struct aio *a, uint32_t object)
{
	for (unsigned i = 0; i < a->nrecs; i++)
		if (a->recs[i]->object == object)
			return a->recs[i];
	return NULL;
}

/* ---- checks ---- */

static unsigned long read_number(const char *path)
{
	unsigned long n = 0;
	FILE *f = fopen(path, "re");

	if (f && fscanf(f, "%lu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

/* All contexts of a machine together have a limit. */
static int check_limit(const struct aio *a, struct crcore_error *err)
{
	unsigned long used = read_number("/proc/sys/fs/aio-nr");
	unsigned long max = read_number("/proc/sys/fs/aio-max-nr");
	unsigned long want = 0;

	for (unsigned i = 0; i < a->nrecs; i++)
		want += a->recs[i]->requests;
	if (!max || used + want <= max)
		return 0;
	crcore_advise(err, "set the sysctl fs.aio-max-nr to %lu or more", used + want);
	return crcore_fail(err, -EAGAIN, "the AIO contexts of the tree have %lu requests, and this "
	                   "machine allows %lu, of which %lu are in use", want, max, used);
}

/* How many slots kernels have given one so far: room for twice as many, at least 8 for each
 * processor, and whatever fits into the last page. */
static uint32_t usual_slots(uint32_t requests)
{
	uint64_t cpus = (uint64_t)sysconf(_SC_NPROCESSORS_CONF);
	uint64_t n = requests > cpus * 4 ? requests : cpus * 4;

	return (uint32_t)(((slot_offset(0) + (2 * n + 2) * EVENT_SIZE + PAGE - 1) / PAGE * PAGE -
	                   slot_offset(0)) / EVENT_SIZE);
}

/* The same of this kernel; 0: it cannot be made. To end a context takes about 20 ms. */
static uint32_t try_setup(uint32_t requests)
{
	aio_context_t id = 0;
	uint32_t slots;

	if (syscall(SYS_io_setup, requests, &id) < 0)
		return 0;
	slots = ((const struct ring *)(uintptr_t)id)->nr;
	syscall(SYS_io_destroy, id);
	return slots;
}

/* How large a ring is made depends on the number of processors too. */
static int check_slots(Aio__Context *rec, struct crcore_error *err)
{
	uint32_t slots = usual_slots(rec->requests);

	if (slots == rec->slots || (slots = try_setup(rec->requests)) == rec->slots)
		return 0;
	rec->requests = (rec->slots - 2) / 2;
	if (rec->requests && try_setup(rec->requests) == rec->slots)
		return 0;
	crcore_advise(err, "restore it on a machine with as many processors");
	return crcore_fail(err, -ENOTSUP, "an AIO context has room for %u events, which cannot be made "
	                   "here: one for as many requests has %u", rec->slots, slots);
}

int aio_check(void *state, struct crcore_error *err)
{
	struct aio *a = state;
	int r;

	if (a->nrecs && syscall(SYS_io_destroy, 0UL) < 0 && errno == ENOSYS)
		return crcore_fail(err, -ENOSYS, "this kernel has no AIO contexts (CONFIG_AIO)");
	r = check_limit(a, err);

	for (unsigned i = 0; i < a->nrecs && r == 0; i++)
		if (a->recs[i]->n_pids && (i == 0 || a->recs[i - 1]->requests != a->recs[i]->requests ||
		                           a->recs[i - 1]->slots != a->recs[i]->slots))
			r = check_slots(a->recs[i], err);
	return r;
}

/* ---- the ring as a file ---- */

static int write_at(int fd, const void *buf, size_t len, uint64_t at)
{
	ssize_t n = len ? pwrite(fd, buf, len, (off_t)at) : 0;

	return n < 0 ? -errno : n == (ssize_t)len ? 0 : -EIO;
}

static int fill(int fd, const Aio__Context *r)
{
	uint32_t n = (uint32_t)(r->events.len / EVENT_SIZE), head = (r->tail + r->slots - n) % r->slots;
	uint32_t first = n < r->slots - head ? n : r->slots - head;
	const struct ring ring = { .nr = r->slots, .head = head, .tail = r->tail, .magic = RING_MAGIC,
		                   .compat = 1, .header_length = sizeof(ring) };
	int e = ftruncate(fd, (off_t)r->size) < 0 ? -errno : write_at(fd, &ring, sizeof(ring), 0);

	if (e == 0)
		e = write_at(fd, r->events.data, first * EVENT_SIZE, slot_offset(head));
	if (e == 0)
		e = write_at(fd, r->events.data + first * EVENT_SIZE, (n - first) * EVENT_SIZE,
		             slot_offset(0));
	return e;
}

/* A memory file that looks as the ring does: tasks read their events from it, and those to
 * which a ring was only handed down map it. */
int aio_create(void *state, uint32_t object, struct crcore_error *err)
{
	const Aio__Context *rec = aio_find(state, object);
	int fd, e;

	if (!rec)
		return crcore_fail(err, -EBADMSG, "there is no record of object %u", object);
	fd = memfd_create("[aio]", MFD_CLOEXEC);
	e = fd < 0 ? -errno : rec->slots ? fill(fd, rec) : 0;
	if (e < 0 && fd >= 0)
		close(fd);
	return e < 0 ? crcore_fail(err, e, "its ring cannot be written: %s", strerror(-e)) : fd;
}
