/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: what was made for the tree is removed, too, if crcore is killed before the tree
 * is let go. The functions here run in another process (plugin.h, will_call): they use
 * nothing but their bytes and system calls.
 */
#include "ipc.h"

#include <mqueue.h>

static int will(struct ipc *s, void (*fn)(const void *, size_t), const void *bytes, size_t len,
                struct crcore_error *err)
{
	return CRCORE_HAS(s->host, will_call) ? s->host->will_call(s->ctx, fn, bytes, len, err) : 0;
}

/* ---- System V ---- */

struct doomed { enum sort sort; int id; uint32_t key, cuid, cgid; };

/* The id was free: if it is taken by now, then by what we made, or by somebody else's. */
static void remove_doomed(const void *bytes, size_t len)
{
	struct doomed d;
	struct entry e;

	memcpy(&d, bytes, sizeof(d));
	if (ipc_stat(d.sort, d.id, &e) && e.key == d.key && e.cuid == d.cuid && e.cgid == d.cgid)
		ipc_remove(d.sort, d.id);
}

int will_item(struct ipc *s, const struct item *it, struct crcore_error *err)
{
	const struct doomed d = { it->sort, (int)it->perm->id, it->perm->key, it->perm->cuid,
		                  it->perm->cgid };

	return will(s, remove_doomed, &d, sizeof(d), err);
}

/* ---- POSIX ---- */

static void remove_queue(const void *name, size_t len)
{
	mq_unlink(name);
}

int will_queue(struct ipc *s, const char *name, struct crcore_error *err)
{
	return will(s, remove_queue, name, strlen(name) + 1, err);
}

/* ---- limits ---- */

int will_limit(struct ipc *s, const char *name, const char *value, struct crcore_error *err)
{
	char path[80];

	snprintf(path, sizeof(path), "/proc/sys/%s", name);
	return CRCORE_HAS(s->host, will) ? s->host->will(s->ctx, path, value, err) : 0;
}
