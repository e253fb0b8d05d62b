/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which descriptors there are, and which of them a task has from its parent: what is inherited
 * keeps its number, so one kcmp(2) each tells. Of those little is left to be read.
 */
#include <ctype.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include "core/dump/descriptors.h"
#include "core/util/parallel.h"
#include "core/util/util.h"

/* ---- listing ---------------------------------------------------------------------- */

/* Those of a table, which is listed through the first task that has it. */
struct list { bool wanted; int *fds; unsigned n; };

static int cannot_list(int e, struct crcore_error *err)
{
	if (e == ENOENT) /* it has ended meanwhile */
		e = ESRCH;
	return crcore_fail(err, -e, "cannot list descriptors: %s", strerror(e));
}

/* lists: of all tasks, by their index. */
static int list_descriptors(void *lists, struct task *t, struct crcore_error *err)
{
	struct list *l = (struct list *)lists + t->abi.index;
	char buf[8192];
	ssize_t n;

	if (!l->wanted)
		return 0;
	cleanup_close int dir = openat(t->proc, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return cannot_list(errno, err);
	while ((n = getdents64(dir, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *e = (const void *)(buf + at);
			at += e->d_reclen;
			if (!isdigit((unsigned char)e->d_name[0]))
				continue;
			if (!GROW(l->fds, l->n))
				return crcore_no_memory(err);
			l->fds[l->n++] = atoi(e->d_name);
		}
	return n < 0 ? cannot_list(errno, err) : 0;
}

static int add_list(struct table *table, const struct list *l, struct task *t, struct survey *s,
                    struct crcore_error *err)
{
	for (unsigned i = 0; i < l->n; i++) {
		if (!GROW(table->v, table->n))
			return crcore_no_memory(err);
		table->v[table->n++] = (struct descriptor){
			.task = t, .files = s->files[t->rec->files - 1], .fd = l->fds[i], .local = -1 };
	}
	return 0;
}

int tables_list(struct table *table, struct survey *s, struct crcore_error *err)
{
	const struct tree *tree = &s->tree;
	cleanup_free struct list *lists = calloc(tree->ntasks + 1, sizeof(*lists));
	cleanup_free bool *listed = calloc(s->nfiles + 1, sizeof(*listed)); /* by id: they are shared */
	cleanup_free struct finding *found = NULL;
	int r = 0;

	if (lists && listed) {
		listed[0] = true;
		for (unsigned i = 0; i < tree->ntasks; i++) {
			uint32_t id = tree->tasks[i]->rec->files;
			lists[i].wanted = !listed[id];
			listed[id] = true;
		}
		found = tasks_look(tree->tasks, tree->ntasks, list_descriptors, lists);
	}
	if (!found)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < tree->ntasks; i++) {
		struct task *t = tree->tasks[i];
		if (r == 0 && (r = found[i].r) < 0)
			*err = found[i].err;
		if (r == 0)
			r = add_list(table, &lists[i], t, s, err);
		if (r < 0)
			crcore_fail_at(err, t->abi.pid, -1, "task %s", t->comm);
		free(lists[i].fds);
	}
	return r;
}

/* ---- inherited -------------------------------------------------------------------- */

#define CHUNK 128 /* descriptors that a thread compares before it takes more */

struct family {
	struct table *table;
	struct span { unsigned first, n; } *of; /* of a descriptor table, by its id */
};

static struct descriptor *find_number(const struct family *f, uint32_t files, int fd)
{
	struct descriptor *v = f->table->v + f->of[files].first;
	unsigned from = 0, to = f->of[files].n;

	while (from < to) { /* the kernel lists them in their order */
		unsigned middle = from + (to - from) / 2;
		if (v[middle].fd == fd)
			return &v[middle];
		if (v[middle].fd < fd)
			from = middle + 1;
		else
			to = middle;
	}
	return NULL;
}

static void compare_with_parents(void *arg, size_t from, size_t to)
{
	const struct family *f = arg;

	for (size_t i = from; i < to; i++) {
		struct descriptor *d = &f->table->v[i];
		const struct task *parent = d->task->parent;
		struct descriptor *p = parent ? find_number(f, parent->rec->files, d->fd) : NULL;
		if (p && p->task != d->task &&
		    syscall(SYS_kcmp, p->task->abi.pid, d->task->abi.pid, KCMP_FILE, (long)d->fd,
		            (long)d->fd) == 0)
			d->from = p;
	}
}

int tables_compare(struct table *table, const struct survey *s, struct crcore_error *err)
{
	struct family f = { table, calloc(s->nfiles + 1, sizeof(*f.of)) };

	if (!f.of)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < table->n; i++) {
		struct span *of = &f.of[table->v[i].files->id];
		if (!of->n++)
			of->first = i;
	}
	parallel(table->n, CHUNK, compare_with_parents, &f);
	free(f.of);
	return 0;
}
