/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region in an address space of the tree: mapped by a thread of it, seen by
 * us through /proc/PID/map_files, filled with the interpreter and programs.
 *
 *	[ struct region | interpreter | programs, ways back | a page that nobody touches ]
 *	[ struct region | programs | a page that nobody touches | interpreter, ways back ]
 *
 * The second where what is executed may not be writable: we write through our own view.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include "core/task/arch/x86_64.h"
#include "core/task/inject.h"
#include "core/util/parallel.h"
#include "core/util/util.h"
#include "parasite/arch/x86_64.h"
#include "parasite/blob.h"

/* What is said of a region that could not be mapped in the task. */
static int refused(const struct inject *in, int code, struct crcore_error *err)
{
	if (code == -ENOMEM)
		crcore_advise(err, "raise its address space limit (ulimit -v) or the limit of "
		              "mappings (sysctl vm.max_map_count)");
	else if (code == -EAGAIN)
		crcore_advise(err, "raise its limit of locked memory (ulimit -l)");
	else
		crcore_advise(err, "allow it executable memory (SELinux: execmem)");
	return crcore_fail(err, code, "cannot map %zu bytes in it: %s", in->size, strerror(-code));
}

static int map_here(struct inject *in, struct crcore_error *err)
{
	char name[64];

	snprintf(name, sizeof(name), "map_files/%llx-%llx", (unsigned long long)in->remote,
	         (unsigned long long)(in->remote + in->size));
	cleanup_close int fd = openat(in->thread->task->proc, name, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		int e = errno;
		crcore_advise(err, "run crcore with CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE");
		return crcore_fail(err, -e, "cannot open /proc/PID/%s: %s", name, strerror(e));
	}
	void *p = mmap(NULL, in->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return crcore_fail(err, -errno, "cannot map the region: %s", strerror(errno));
	in->local = p;
	return 0;
}

static void fill(struct inject *in)
{
	const size_t head = ALIGN_UP(sizeof(struct region), 64);
	const size_t code = in->code ? in->size - in->code : head;

	in->local->magic = REGION_MAGIC;
	in->local->protocol = PROGRAM_PROTOCOL;
	in->local->entry = in->remote + code + INTERPRETER_ENTRY;
	in->local->size = in->size;
	memcpy((uint8_t *)in->local + code, interpreter_blob, interpreter_blob_size);
	in->used = in->code ? head : ALIGN_UP(code + interpreter_blob_size, 64);
	in->used_code = ALIGN_UP(interpreter_blob_size, 64);
}

bool inject_populated(const struct inject *in)
{
	const size_t last = in->size - in->code - PAGE;
	unsigned char resident = 0;

	return mincore((uint8_t *)in->local + last, PAGE, &resident) == 0 && (resident & 1);
}

static size_t way_back_size(void)
{
	return ALIGN_UP(interpreter_return_size + sizeof(struct frame), 64);
}

size_t inject_need(const prog *p)
{
	return prog_size(p) + way_back_size();
}

int inject_open(struct thread *t, size_t size, struct inject **ret, struct crcore_error *err)
{
	struct inject *in = calloc(1, sizeof(*in));
	int r;

	if (!in)
		return crcore_no_memory(err);
	in->thread = t;
	in->size = ALIGN_UP(size + sizeof(struct region) + interpreter_blob_size + 128, PAGE) + PAGE;
	if (!arch_is_native(&t->regs)) {
		crcore_advise(err, "only 64-bit programs can be saved");
		r = crcore_fail(err, -ENOTSUP, "it is a 32-bit program");
	} else
		r = landing_find(t, in, err);
	if (r < 0) {
		crcore_fail_at(err, t->task->abi.pid, -1, "task %s", t->task->comm);
		inject_close(in);
		return r;
	}
	*ret = in;
	return 0;
}

#define CHUNK 8 /* regions that a thread of ours sees to before it takes more */

/* Landings are at the same places in one address space: they are made, and cleaned away, one after
 * the other, but where each region is the one of its own. */
static void landings(struct inject *const *v, unsigned n,
                     void (*fn)(void *arg, size_t from, size_t to), void *arg)
{
	unsigned alone = 0;

	while (alone < n && v[alone]->thread->task->mm &&
	       v[alone]->thread->task->mm->inject == v[alone])
		alone++;
	if (alone == n)
		parallel(n, CHUNK, fn, arg);
	else
		fn(arg, 0, n);
}

struct calling { struct inject *const *v; struct call *calls; };

static void prepare_range(void *arg, size_t from, size_t to)
{
	const struct calling *c = arg;

	for (size_t i = from; i < to; i++)
		landing_prepare(c->v[i], c->v[i]->thread, &c->calls[i]);
}

/* One system call in each of some address spaces; NULL if there is no memory for it. */
static struct call *call_each(struct inject *const *v, unsigned n, const struct call *how)
{
	struct call *calls = calloc(n + 1, sizeof(*calls));
	struct calling all = { v, calls };

	for (unsigned i = 0; calls && i < n; i++) {
		calls[i] = *how;
		calls[i].args[0] = v[i]->remote;
		calls[i].args[1] = how->nr == SYS_mprotect ? v[i]->size - v[i]->code : v[i]->size;
		calls[i].undo = how->nr == SYS_mmap ? v[i]->size : 0;
	}
	if (calls) {
		landings(v, n, prepare_range, &all);
		calls_make(calls, n);
	}
	return calls;
}

/* A task that may have no writable code (PR_SET_MDWE) gets code and data apart from each other.
 * The ways back are code: they have room if each byte of the programs were of one. */
static void set_apart(struct inject *in)
{
	in->code = ALIGN_UP(interpreter_blob_size, PAGE) + in->size;
	in->size += in->code;
}

static int take(struct inject *in, const struct call *c, struct crcore_error *err)
{
	int r = c->r < 0 ? call_error(c, err) : 0;

	if (r == 0 && c->result == -EACCES && !in->code) {
		set_apart(in);
		return 0;
	}
	if (r == 0 && c->result < 0 && c->result > -4096)
		r = refused(in, (int)c->result, err);
	if (r == 0) {
		in->remote = (uint64_t)c->result;
		r = map_here(in, err);
	}
	if (r == 0)
		fill(in);
	else
		crcore_fail_at(err, in->thread->task->abi.pid, -1, "task %s", in->thread->task->comm);
	return r;
}

struct taking {
	struct inject *const *v;
	const struct call *calls;
	struct taken { int r; struct crcore_error err; } *taken;
};

static void take_range(void *arg, size_t from, size_t to)
{
	const struct taking *t = arg;

	for (size_t i = from; i < to; i++) {
		t->taken[i].err = (struct crcore_error)CRCORE_ERROR_INIT;
		t->taken[i].r = take(t->v[i], &t->calls[i], &t->taken[i].err);
	}
}

/* But for those that are to be set apart. */
static int map_each(struct inject *const *v, unsigned n, uint64_t prot, struct crcore_error *err)
{
	const struct call how = { .nr = SYS_mmap,
		.args = { 0, 0, prot, MAP_SHARED | MAP_ANONYMOUS, (uint64_t)-1, 0 } };
	cleanup_free struct taken *taken = malloc((n + 1) * sizeof(*taken));
	cleanup_free struct call *calls = taken ? call_each(v, n, &how) : NULL;
	struct taking all = { v, calls, taken };

	if (!calls)
		return crcore_no_memory(err);
	parallel(n, CHUNK, take_range, &all);
	for (unsigned i = 0; i < n; i++)
		if (taken[i].r < 0) {
			*err = taken[i].err;
			return taken[i].r;
		}
	return 0;
}

static int map_apart(struct inject *const *v, unsigned n, struct crcore_error *err)
{
	const struct call how = { .nr = SYS_mprotect, .args = { 0, 0, PROT_READ | PROT_WRITE } };
	int r = map_each(v, n, PROT_READ | PROT_EXEC, err);
	cleanup_free struct call *calls = r == 0 ? call_each(v, n, &how) : NULL;

	if (r == 0 && !calls)
		r = crcore_no_memory(err);
	for (unsigned i = 0; r == 0 && i < n; i++) {
		r = calls[i].r < 0 ? call_error(&calls[i], err) : 0;
		if (r == 0 && calls[i].result < 0)
			r = refused(v[i], (int)calls[i].result, err);
		if (r < 0)
			crcore_fail_at(err, v[i]->thread->task->abi.pid, -1, "task %s",
			               v[i]->thread->task->comm);
	}
	return r;
}

int inject_map(struct inject *const *v, unsigned n, struct crcore_error *err)
{
	cleanup_free struct inject **apart = NULL;
	unsigned k = 0;
	int r = map_each(v, n, PROT_READ | PROT_WRITE | PROT_EXEC, err);

	for (unsigned i = 0; r == 0 && i < n; i++)
		if (!v[i]->remote) {
			if (!GROW(apart, k))
				return crcore_no_memory(err);
			apart[k++] = v[i];
		}
	return r == 0 && k ? map_apart(apart, k, err) : r;
}

/* The way back of an orphan: code, and the application's registers and mask behind it. */
static uint64_t place_frame(struct inject *in, const struct thread *t)
{
	size_t *used = in->code ? &in->used_code : &in->used;
	size_t at = (in->code ? in->size - in->code : 0) + *used;
	uint8_t *code = (uint8_t *)in->local + at;

	memcpy(code, interpreter_return, interpreter_return_size);
	arch_fill_frame((void *)(code + interpreter_return_size), &t->regs, t->sigmask);
	*used += way_back_size();
	return in->remote + at + interpreter_return_size;
}

int inject_place(struct inject *in, struct thread *t, prog *p, struct crcore_error *err)
{
	struct program *head = (void *)((uint8_t *)in->local + in->used);

	if (!in->remote || inject_need(p) > in->size - in->code - in->used)
		return crcore_fail(err, -ENOSPC, "the region is too small for its programs");
	if (!GROW(in->placed, in->nplaced))
		return crcore_no_memory(err);
	int r = prog_place(p, head, in->remote + in->used, err);
	if (r < 0)
		return r;
	in->used += prog_size(p);
	head->frame = place_frame(in, t);
	head->region = in->remote;
	head->orphan = t->filtered ? ORPHAN_RETURN_BARE : ORPHAN_RETURN;
	head->id = in->nplaced;
	in->placed[in->nplaced++] = (struct placed){ t, p, false };
	t->program = head;
	return 0;
}

static void clean_range(void *arg, size_t from, size_t to)
{
	struct inject *const *v = arg;

	for (size_t i = from; i < to; i++)
		landing_clean(v[i], v[i]->thread);
}

void inject_leave(struct inject *const *v, unsigned n)
{
	const struct call how = { .nr = SYS_munmap };
	cleanup_free struct inject **many = n > 1 ? calloc(n, sizeof(*many)) : NULL;
	struct inject *one[1], **some = n > 1 ? many : one;
	unsigned k = 0;

	for (unsigned i = 0; !some && i < n; i++)
		inject_leave(&v[i], 1);
	for (unsigned i = 0; some && i < n; i++)
		if (v[i]->remote && !v[i]->stuck)
			some[k++] = v[i];
	if (k)
		free(call_each(some, k, &how));
	while (k)
		some[--k]->remote = 0;
	for (unsigned i = 0; some && i < n; i++)
		if (v[i]->slot) /* also of one that could not be mapped */
			some[k++] = v[i];
	landings(some, k, clean_range, some);
}

void inject_close(struct inject *in)
{
	if (!in)
		return;
	inject_leave(&in, 1);
	if (in->local)
		munmap(in->local, in->size);
	if (in->thread->task->mm && in->thread->task->mm->inject == in)
		in->thread->task->mm->inject = NULL;
	free(in->placed);
	free(in);
}
