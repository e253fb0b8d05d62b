/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: the tree may still run while it is looked at. A socket that it accepted
 * since its descriptors were listed is no peer outside, and one that it closed
 * since then is in no other namespace. Before such a refusal the descriptors
 * of the tree are read once more, and the sockets of the namespace too; if it
 * was that, the look is repeated (-EAGAIN).
 */
#include "sockets.h"

#include <dirent.h>

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int add(struct later *l, uint32_t ino)
{
	if ((l->n & (l->n - 1)) == 0) {
		void *more = realloc(l->held, (l->n ? 2 * (size_t)l->n : 1) * sizeof(*l->held));
		if (!more)
			return -ENOMEM;
		l->held = more;
	}
	l->held[l->n++] = ino;
	return 0;
}

static int add_task(struct later *l, pid_t pid)
{
	char path[40], link[40];
	struct dirent *e;
	unsigned ino;
	int r = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (!r && d && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
		if (n < 0)
			continue;
		link[n] = '\0';
		if (sscanf(link, "socket:[%u]", &ino) == 1)
			r = add(l, ino);
	}
	if (d)
		closedir(d);
	return r;
}

static int look_again(struct sockets *s, struct crcore_error *err)
{
	const struct crcore_task *task;
	int r = 0;

	if (s->later.taken)
		return 0;
	for (uint32_t i = 0; !r && (task = s->host->task(s->ctx, i)); i++)
		r = add_task(&s->later, task->pid);
	if (r < 0)
		return crcore_fail(err, r, "out of memory");
	if (s->later.n)
		qsort(s->later.held, s->later.n, sizeof(*s->later.held), by_value);
	s->later.taken = true;
	return graph_take(&s->later.graph, err);
}

static bool held(const struct sockets *s, uint32_t ino)
{
	return s->later.n && bsearch(&ino, s->later.held, s->later.n, sizeof(ino), by_value);
}

static int again(struct crcore_error *err)
{
	return crcore_fail(err, -EAGAIN, "the tree changes while it is looked at");
}

bool race_refused(const struct sockets *s, uint32_t ino)
{
	for (unsigned i = 0; i < s->nrefused; i++)
		if (s->refused[i] == ino)
			return true;
	return false;
}

int race_peer(struct sockets *s, uint32_t ino, struct crcore_error *err)
{
	int r = look_again(s, err);

	if (r < 0)
		return r;
	if (held(s, ino) || (graph_find(&s->graph, ino) && !graph_find(&s->later.graph, ino)))
		return again(err);
	return 0;
}

int race_own(struct sockets *s, uint32_t ino, struct crcore_error *err)
{
	int r = look_again(s, err);

	return r < 0 ? r : held(s, ino) && !graph_find(&s->later.graph, ino) ? 0 : again(err);
}

void race_forget(struct later *l)
{
	graph_free(&l->graph);
	free(l->held);
	*l = (struct later){ 0 };
}
