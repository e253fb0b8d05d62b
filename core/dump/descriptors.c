/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor tables: every descriptor of every task, and which of them reach
 * one and the same file description (fork, dup, passing). What /proc says of them
 * (describe.c) tells most apart; kcmp(2) decides among those that look alike, by sorting.
 *
 * Most of the time goes into /proc, so descriptors are listed first and then read
 * by several threads.
 */
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include "core/dump/descriptors.h"
#include "core/util/parallel.h"
#include "core/util/util.h"

#define CHUNK 64 /* descriptors that a thread reads before it takes more */

/* ---- reading -------------------------------------------------------------------- */

static bool may_keep(struct table *table)
{
	unsigned n = __atomic_load_n(&table->keep, __ATOMIC_RELAXED);

	while (n && !__atomic_compare_exchange_n(&table->keep, &n, n - 1, false, __ATOMIC_RELAXED,
	                                         __ATOMIC_RELAXED))
		;
	return n;
}

static void read_descriptors(void *arg, size_t from, size_t to)
{
	struct table *table = arg;
	struct reader reader = { .quick = table->quick };

	for (size_t i = from; i < to; i++) {
		struct descriptor *d = &table->v[i];
		d->r = d->from ? descriptor_read_own(d, &reader) : descriptor_read(d, &reader);
		if (d->local >= 0 && (d->r <= 0 || !may_keep(table))) {
			close(d->local);
			d->local = -1;
		}
	}
	reader_end(&reader);
}

/* What an inherited descriptor shares with that which it is from in the end. */
static void take_inherited(struct table *table)
{
	struct reader reader = { .quick = table->quick };

	for (unsigned i = 0; i < table->n; i++) {
		struct descriptor *d = &table->v[i], *from = d->from;
		if (!from)
			continue;
		if (from->from)
			from = d->from = from->from;
		if (from->r <= 0) { /* it was closed since */
			d->from = NULL;
			d->r = descriptor_read(d, &reader);
			if (d->local >= 0)
				close(STEAL_FD(d->local));
			continue;
		}
		d->st = from->st;
		d->mnt_id = from->mnt_id;
		d->pos = from->pos;
		d->flags = table->quick ? from->flags & ~(uint32_t)O_CLOEXEC : d->flags;
	}
	reader_end(&reader);
}

static int by_number(const void *a, const void *b)
{
	const Crcore__Fd *x = *(Crcore__Fd *const *)a, *y = *(Crcore__Fd *const *)b;

	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

static int add_record(struct descriptor *d, struct crcore_error *err)
{
	if (d->r == -EPERM)
		crcore_advise(err, "run crcore with CAP_SYS_PTRACE");
	if (d->r < 0)
		return crcore_fail(err, d->r, "cannot look at descriptor %d: %s", d->fd, strerror(-d->r));
	if (!GROW(d->files->fds, d->files->n_fds) || !(d->rec = malloc(sizeof(*d->rec))))
		return crcore_no_memory(err);
	crcore__fd__init(d->rec);
	d->rec->fd = (uint32_t)d->fd;
	d->rec->cloexec = (d->flags & O_CLOEXEC) != 0;
	d->flags &= ~(uint32_t)O_CLOEXEC;
	d->files->fds[d->files->n_fds++] = d->rec;
	return 0;
}

static void forget(struct table *table, struct descriptor *d)
{
	if (d->local >= 0) {
		close(d->local);
		table->keep++;
	}
	d->local = -1;
	free(STEAL(d->fdinfo));
	free(STEAL(d->link));
}

/* Records of those that are there. */
static int add_records(struct table *table, struct survey *s, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; i < table->n; i++) {
		struct descriptor *d = &table->v[i];
		if (r == 0 && d->r && (r = add_record(d, err)) < 0)
			crcore_fail_at(err, d->task->abi.pid, -1, "task %s", d->task->comm);
		if (r < 0 || !d->r)
			forget(table, d);
	}
	for (unsigned i = 0; i < s->nfiles; i++)
		qsort(s->files[i]->fds, s->files[i]->n_fds, sizeof(*s->files[i]->fds), by_number);
	return r;
}

/* ---- telling descriptions apart --------------------------------------------------- */

#define COMPARE(x, y) do { if ((x) != (y)) return (x) < (y) ? -1 : 1; } while (0)

static int by_looks(const void *a, const void *b)
{
	const struct descriptor *x = *(struct descriptor *const *)a;
	const struct descriptor *y = *(struct descriptor *const *)b;

	COMPARE(x->st.st_dev, y->st.st_dev);
	COMPARE(x->st.st_ino, y->st.st_ino);
	COMPARE(x->flags, y->flags);
	COMPARE(x->mnt_id, y->mnt_id);
	COMPARE(x->pos, y->pos);
	return 0;
}

static int by_description(const void *a, const void *b, void *arg)
{
	const struct descriptor *x = *(struct descriptor *const *)a;
	const struct descriptor *y = *(struct descriptor *const *)b;
	struct table *table = arg;
	long r = x == y ? 0 : syscall(SYS_kcmp, x->task->abi.pid, y->task->abi.pid, KCMP_FILE,
	                              (long)x->fd, (long)y->fd);

	if (r < 0)
		table->error = -errno;
	return r == 0 ? 0 : r == 1 ? -1 : 1;
}

/* In a row those that are likely to be one: what is inherited keeps its number. */
static int by_looks_and_number(const void *a, const void *b)
{
	const struct descriptor *x = *(struct descriptor *const *)a;
	const struct descriptor *y = *(struct descriptor *const *)b;
	int r = by_looks(a, b);

	if (r)
		return r;
	COMPARE(x->fd, y->fd);
	COMPARE(x, y);
	return 0;
}

/* Most that look alike are inherited, hence one and the same: those that stand side by side
 * are told by one look each, and only one of each such row is sorted. */
static void group_alike(struct table *table, struct descriptor **v, unsigned n)
{
	unsigned rows = 0;

	for (unsigned i = 0; i < n; i++) {
		if (i > 0 && by_description(&v[i - 1], &v[i], table) == 0) {
			v[i]->same = v[i - 1]->same;
			continue;
		}
		v[i]->same = v[i];
		rows++;
	}
	cleanup_free struct descriptor **first = calloc(rows + 1, sizeof(*first));
	if (!first) {
		table->error = -ENOMEM;
		return;
	}
	rows = 0;
	for (unsigned i = 0; i < n; i++)
		if (v[i]->same == v[i])
			first[rows++] = v[i];
	if (rows > 1)
		qsort_r(first, rows, sizeof(*first), by_description, table);
	for (unsigned i = 0; i < rows; i++) {
		if (i == 0 || by_description(&first[i - 1], &first[i], table) != 0)
			table->ngroups++;
		first[i]->group = table->ngroups;
	}
	for (unsigned i = 0; i < n; i++)
		v[i]->group = v[i]->same->group;
}

static int group_descriptors(struct table *table, struct crcore_error *err)
{
	cleanup_free struct descriptor **v = calloc(table->n + 1, sizeof(*v));
	unsigned n = 0;

	if (!v)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < table->n; i++)
		if (table->v[i].r && !table->v[i].from)
			v[n++] = &table->v[i];
	qsort(v, n, sizeof(*v), by_looks_and_number);
	for (unsigned i = 0, k; i < n; i = k) {
		for (k = i + 1; k < n && by_looks(&v[i], &v[k]) == 0; k++)
			;
		group_alike(table, v + i, k - i);
	}
	for (unsigned i = 0; i < table->n; i++)
		if (table->v[i].from)
			table->v[i].group = table->v[i].from->group;
	if (table->error == -ESRCH || table->error == -EBADF)
		return crcore_fail(err, -EAGAIN, "the tree changes while it is looked at");
	if (table->error)
		return crcore_fail(err, table->error, "cannot compare descriptors (kcmp): %s",
		                   strerror(-table->error));
	return 0;
}

/* ---- objects ------------------------------------------------------------------------ */

static struct object *make_object(struct descriptor *d)
{
	struct object *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	snprintf(o->path, sizeof(o->path), "fd/%d", d->fd);
	o->task = d->task;
	o->async = d->flags & O_ASYNC;
	o->link = STEAL(d->link);
	o->fdinfo = STEAL(d->fdinfo);
	o->abi = (struct crcore_object){
		.size = sizeof(o->abi), .class_ = CRCORE_DESCRIPTION, .pid = d->task->abi.pid,
		.fd = d->fd, .local_fd = -1, .flags = d->flags & ~(uint32_t)O_ASYNC, .pos = d->pos,
		.mnt_id = d->mnt_id, .st = d->st, .link = o->link, .fdinfo = o->fdinfo,
	};
	return o;
}

static int make_objects(struct table *table, struct objects *objects, struct crcore_error *err)
{
	cleanup_free struct object **of = calloc(table->ngroups + 1, sizeof(*of));
	int r = of ? 0 : crcore_no_memory(err);

	for (unsigned i = 0; r == 0 && i < table->n; i++) {
		struct descriptor *d = &table->v[i];
		struct object **o = &of[d->group];
		if (!d->r)
			continue;
		if (!*o) {
			*o = make_object(d);
			r = *o ? objects_add(objects, *o, err) : crcore_no_memory(err);
			if (r == 0 && d->local >= 0) {
				(*o)->abi.local_fd = STEAL_FD(d->local);
				(*o)->kept = true;
			}
		}
		if (r == 0) {
			(*o)->abi.holders++;
			(*o)->abi.locked |= d->locked;
			d->rec->object = (*o)->abi.id;
		}
	}
	return r;
}

int survey_descriptors(struct survey *s, struct crcore_error *err)
{
	struct table table = { .keep = s->objects.keep, .quick = s->quick };
	int r = tables_list(&table, s, err);

	if (r == 0)
		r = tables_compare(&table, s, err);
	if (r == 0) {
		if (table.n)
			parallel_room(table.v->task->proc, table.n < table.keep ? table.n : table.keep);
		parallel(table.n, CHUNK, read_descriptors, &table);
		take_inherited(&table);
		r = add_records(&table, s, err);
	}
	if (r == 0 && (r = group_descriptors(&table, err)) == 0)
		r = make_objects(&table, &s->objects, err);
	for (unsigned i = 0; i < table.n; i++)
		forget(&table, &table.v[i]);
	free(table.v);
	s->objects.keep = table.keep;
	return r;
}
