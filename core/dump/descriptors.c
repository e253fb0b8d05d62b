/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor tables: every descriptor of every task, and which of them reach
 * one and the same file description (fork, dup, passing). /proc/PID/fdinfo
 * tells most apart; kcmp(2) decides among those that look alike, by sorting.
 *
 * Most of the time goes into /proc, so descriptors are listed first and then read
 * by several threads.
 */
#include <ctype.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include "core/dump/dump.h"
#include "core/util/parallel.h"
#include "core/util/util.h"

#define CHUNK 64 /* descriptors that a thread reads before it takes more */

struct descriptor {
	struct task *task;
	Crcore__Files *files; /* the table that it is in */
	Crcore__Fd *rec;
	int fd;
	struct stat st;
	uint32_t flags, mnt_id;
	int64_t pos;
	bool locked;
	char *fdinfo, *link;
	int r;               /* of reading it: 1, 0: it was closed meanwhile, or why not */
	unsigned group;      /* equal: same description; 0: not told yet */
	struct descriptor *same; /* the first of a row that are one description */
};

struct table {
	struct descriptor *v;
	unsigned n, ngroups;
	int error;           /* of kcmp */
};

/* ---- reading -------------------------------------------------------------------- */

static void parse_fdinfo(struct descriptor *d)
{
	const char *pos = proc_field(d->fdinfo, "pos"), *flags = proc_field(d->fdinfo, "flags");
	const char *mnt = proc_field(d->fdinfo, "mnt_id");

	d->pos = pos ? strtoll(pos, NULL, 10) : 0;
	d->flags = flags ? (uint32_t)strtoul(flags, NULL, 8) : 0;
	d->locked = strstr(d->fdinfo, "\nlock:");
	d->mnt_id = mnt ? (uint32_t)strtoul(mnt, NULL, 10) : 0;
}

/* The folders of a task that tell of its descriptors: each path is one step shorter. */
struct folders { const struct task *task; int fd, info, error; };

static void open_folders(struct folders *f, const struct task *t)
{
	if (f->task == t)
		return;
	if (f->task) {
		close(f->fd);
		close(f->info);
	}
	f->task = t;
	f->fd = t ? openat(t->proc, "fd", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	f->info = t ? openat(t->proc, "fdinfo", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	f->error = f->fd < 0 || f->info < 0 ? -errno : 0;
}

/* What fits comes at once: then the end need not be asked for. */
static int read_fdinfo(struct descriptor *d, const struct folders *f, const char *name)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	char buf[1024];
	cleanup_close int fd = openat(f->info, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));

	if (n <= 0 || n == (ssize_t)sizeof(buf))
		return proc_read(f->info, name, &d->fdinfo, NULL, &ignored);
	d->fdinfo = strndup(buf, (size_t)n);
	return d->fdinfo ? 0 : -ENOMEM;
}

static int read_link(struct descriptor *d, const struct folders *f, const char *name)
{
	char link[4096];
	ssize_t n = readlinkat(f->fd, name, link, sizeof(link) - 1);

	d->link = strndup(link, n < 0 ? 0 : (size_t)n);
	return d->link ? 0 : -ENOMEM;
}

static int read_descriptor(struct descriptor *d, const struct folders *f)
{
	char name[16];
	int r;

	if (f->error)
		return f->error;
	snprintf(name, sizeof(name), "%d", d->fd);
	if (fstatat(f->fd, name, &d->st, 0) < 0)
		return -errno;
	if ((r = read_link(d, f, name)) < 0 || (r = read_fdinfo(d, f, name)) < 0)
		return r;
	parse_fdinfo(d);
	return 1;
}

static void read_descriptors(void *arg, size_t from, size_t to)
{
	struct table *table = arg;
	struct folders f = { 0 };

	for (size_t i = from; i < to; i++) {
		struct descriptor *d = &table->v[i];
		open_folders(&f, d->task);
		d->r = read_descriptor(d, &f);
		if (d->r == -ENOENT)
			d->r = 0;
	}
	open_folders(&f, NULL);
}

static int by_number(const void *a, const void *b)
{
	const Crcore__Fd *x = *(Crcore__Fd *const *)a, *y = *(Crcore__Fd *const *)b;

	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

static int list_table(struct table *table, struct task *t, Crcore__Files *files,
                      struct crcore_error *err)
{
	int fd = openat(t->proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		int e = errno == ENOENT ? ESRCH : errno; /* it has ended meanwhile */
		return crcore_fail(err, -e, "cannot list descriptors: %s", strerror(e));
	}
	for (struct dirent *e; (e = readdir(dir));) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		if (!GROW(table->v, table->n))
			return crcore_fail(err, -ENOMEM, "out of memory");
		table->v[table->n++] = (struct descriptor){
			.task = t, .files = files, .fd = atoi(e->d_name) };
	}
	return 0;
}

static int add_record(struct descriptor *d, struct crcore_error *err)
{
	if (d->r < 0)
		return crcore_fail(err, d->r, "cannot look at descriptor %d: %s", d->fd, strerror(-d->r));
	if (!GROW(d->files->fds, d->files->n_fds) || !(d->rec = malloc(sizeof(*d->rec))))
		return crcore_fail(err, -ENOMEM, "out of memory");
	crcore__fd__init(d->rec);
	d->rec->fd = (uint32_t)d->fd;
	d->rec->cloexec = (d->flags & O_CLOEXEC) != 0;
	d->flags &= ~(uint32_t)O_CLOEXEC;
	d->files->fds[d->files->n_fds++] = d->rec;
	return 0;
}

static void forget(struct descriptor *d)
{
	free(d->fdinfo);
	free(d->link);
}

/* Records of those that are there, which are then all that the table has. */
static int add_records(struct table *table, struct survey *s, struct crcore_error *err)
{
	unsigned n = 0;
	int r = 0;

	for (unsigned i = 0; i < table->n; i++) {
		struct descriptor *d = &table->v[i];
		if (r == 0 && d->r && (r = add_record(d, err)) < 0)
			crcore_fail_at(err, d->task->abi.pid, -1, "task %s", d->task->comm);
		if (r == 0 && d->r)
			table->v[n++] = *d;
		else
			forget(d);
	}
	table->n = n;
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

	if (!v)
		return crcore_fail(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < table->n; i++)
		v[i] = &table->v[i];
	qsort(v, table->n, sizeof(*v), by_looks);
	for (unsigned i = 0, k; i < table->n; i = k) {
		for (k = i + 1; k < table->n && by_looks(&v[i], &v[k]) == 0; k++)
			;
		group_alike(table, v + i, k - i);
	}
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
	int r = of ? 0 : crcore_fail(err, -ENOMEM, "out of memory");

	for (unsigned i = 0; r == 0 && i < table->n; i++) {
		struct descriptor *d = &table->v[i];
		struct object **o = &of[d->group];
		if (!*o) {
			*o = make_object(d);
			r = *o ? objects_add(objects, *o, err) : crcore_fail(err, -ENOMEM, "out of memory");
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
	struct table table = { 0 };
	cleanup_free bool *listed = calloc(s->nfiles + 1, sizeof(*listed)); /* by id: they are shared */
	int r = listed ? 0 : crcore_fail(err, -ENOMEM, "out of memory");

	for (unsigned i = 0; r == 0 && i < s->tree.ntasks; i++) {
		struct task *t = s->tree.tasks[i];
		uint32_t id = t->rec->files;
		if (id && !listed[id])
			r = list_table(&table, t, s->files[id - 1], err);
		listed[id] = true;
		if (r < 0)
			crcore_fail_at(err, t->abi.pid, -1, "task %s", t->comm);
	}
	if (r == 0) {
		parallel(table.n, CHUNK, read_descriptors, &table);
		r = add_records(&table, s, err);
	}
	if (r == 0 && (r = group_descriptors(&table, err)) == 0)
		r = make_objects(&table, &s->objects, err);
	for (unsigned i = 0; i < table.n; i++)
		forget(&table.v[i]);
	free(table.v);
	return r;
}
