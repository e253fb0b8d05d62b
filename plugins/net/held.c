/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors of the tree, read once more. See held.h. */
#include "plugins/net/held.h"
#include "plugins/util.h"

#include <errno.h>
#include <stdio.h>

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int add_task(struct net_held *h, pid_t pid)
{
	cleanup_dir DIR *d = NULL;
	char path[40], link[40];
	struct dirent *e;
	unsigned ino;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
		if (n < 0)
			continue;
		link[n] = '\0';
		if (sscanf(link, "socket:[%u]", &ino) != 1)
			continue;
		if (!GROW(h->v, h->n))
			return -ENOMEM;
		h->v[h->n++] = ino;
	}
	return 0;
}

int net_held_take(struct net_held *h, const struct crcore_host *host, struct crcore_ctx *ctx,
                  struct crcore_error *err)
{
	const struct crcore_task *task;

	for (uint32_t i = 0; !h->taken && (task = host->task(ctx, i)); i++)
		if (add_task(h, task->pid) < 0)
			return crcore_no_memory(err);
	if (!h->taken && h->n)
		qsort(h->v, h->n, sizeof(*h->v), by_value);
	h->taken = true;
	return 0;
}

bool net_held_has(const struct net_held *h, uint32_t ino)
{
	return h->n && bsearch(&ino, h->v, h->n, sizeof(ino), by_value);
}

void net_held_free(struct net_held *h)
{
	free(h->v);
	*h = (struct net_held){ 0 };
}
