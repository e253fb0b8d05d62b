/* SPDX-License-Identifier: Apache-2.0 */
/* See struct lists in dump.h. Names of files in a list may be older than the list: whoever uses
 * them looks at the file itself. */
#include "core/dump/dump.h"
#include "core/util/util.h"

struct list_of { pid_t pid; struct alike alike; struct vma_list *vmas; };

void lists_keep(struct lists *l, const struct task *t, struct vma_list *vmas)
{
	if (t->alike.known && vmas_have_flags(vmas) && GROW(l->v, l->n))
		l->v[l->n++] = (struct list_of){ t->abi.pid, t->alike, vmas };
	else
		vmas_drop(vmas);
}

static int by_pid(const void *a, const void *b)
{
	const struct list_of *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

void lists_sort(struct lists *l)
{
	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), by_pid);
}

struct vma_list *lists_take(const struct lists *l, const struct task *t)
{
	const struct list_of key = { .pid = t->abi.pid };
	struct list_of *of = l->n ? bsearch(&key, l->v, l->n, sizeof(*l->v), by_pid) : NULL;

	return of && alike_unchanged(&of->alike, &t->alike) ? STEAL(of->vmas) : NULL;
}

void lists_free(struct lists *l)
{
	for (unsigned i = 0; i < l->n; i++)
		vmas_drop(l->v[i].vmas);
	free(l->v);
	*l = (struct lists){ 0 };
}
