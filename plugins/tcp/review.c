/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: which two sockets of the tree are the ends of one connection, by their
 * addresses; what becomes of a connection whose other end is outside.
 */
#include "plugins/tcp/tcp.h"

#include <sys/syscall.h>

static int by_inode(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

/* v4-mapped and plain addresses of IPv4 are the same to the network. */
static void plain(const struct end *e, struct end *ret)
{
	*ret = (struct end){ .family = AF_INET, .port = e->port };
	if (end_is_v4(e)) {
		memcpy(ret->ip, end_v4(e), 4);
	} else {
		ret->family = e->family;
		memcpy(ret->ip, e->ip, 16);
	}
}

static int compare(const struct end *a, const struct end *b)
{
	struct end x, y;

	plain(a, &x);
	plain(b, &y);
	return memcmp(&x, &y, sizeof(x));
}

static int by_tuple(const void *a, const void *b)
{
	const struct known *x = *(struct known *const *)a, *y = *(struct known *const *)b;
	int r = compare(&x->local, &y->local);

	return r ? r : compare(&x->remote, &y->remote);
}

struct known *tcp_known(const struct tcp *t, uint32_t ino)
{
	struct known key = { .ino = ino };

	return t->nknown ? bsearch(&key, t->known, t->nknown, sizeof(key), by_inode) : NULL;
}

static struct known *find_peer(const struct tcp *t, const struct known *k)
{
	struct known key = { .local = k->remote, .remote = k->local }, *p = &key, **hit;

	hit = t->ntuples ? bsearch(&p, t->by_tuple, t->ntuples, sizeof(*t->by_tuple), by_tuple) : NULL;
	return hit ? *hit : NULL;
}

static bool listens_at(const struct tcp *t, const struct end *local)
{
	for (unsigned i = 0; i < t->nknown; i++)
		if (t->known[i].state == ST_LISTEN && t->known[i].local.port == local->port)
			return true;
	return false;
}

static int list_sockets(struct tcp *t, struct crcore_error *err)
{
	const struct crcore_object *obj;

	qsort(t->known, t->nknown, sizeof(*t->known), by_inode);
	for (unsigned i = 0; (obj = t->host->object(t->ctx, i)); i++) {
		struct known *k = tcp_known(t, (uint32_t)obj->st.st_ino);
		if (k) {
			k->obj = obj;
			k->pid = obj->pid;
			k->fd = obj->fd;
		}
	}
	free(t->by_tuple);
	t->ntuples = 0;
	t->by_tuple = calloc(t->nknown + 1, sizeof(*t->by_tuple));
	if (!t->by_tuple)
		return crcore_fail(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < t->nknown; i++)
		if (t->known[i].obj && state_connected(t->known[i].state))
			t->by_tuple[t->ntuples++] = &t->known[i];
	qsort(t->by_tuple, t->ntuples, sizeof(*t->by_tuple), by_tuple);
	for (unsigned i = 0; i < t->ntuples; i++)
		t->by_tuple[i]->peer = find_peer(t, t->by_tuple[i]);
	t->reviewed = true;
	return 0;
}

static int refuse_outside(const struct known *k, struct crcore_error *err)
{
	char here[END_TEXT], there[END_TEXT];

	crcore_advise(err, "use --tcp-established to keep it, --tcp-close to have it closed, or the option "
	              "connections of the plugin tcp for a choice by address");
	return crcore_fail(err, -ENOTSUP, "the other end of its connection %s -> %s is outside the tree",
	                   end_text(&k->local, here), end_text(&k->remote, there));
}

static int judge_listening(const struct tcp *t, const struct known *k, struct crcore_error *err)
{
	if (!k->waiting || t->drop_in_flight)
		return 0;
	crcore_advise(err, "dump when they have been accepted, or use --set tcp.in-flight=drop");
	return crcore_fail(err, -ENOTSUP, "%u connections wait to be accepted", k->waiting);
}

static int judge(struct tcp *t, struct known *k, struct crcore_error *err)
{
	if (k->state == ST_LISTEN)
		return judge_listening(t, k, err);
	if (!state_connected(k->state) || k->peer)
		return 0;
	k->incoming = listens_at(t, &k->local);
	k->verdict = policy_find(t, &k->local, &k->remote, k->incoming);
	return k->verdict == REFUSE ? refuse_outside(k, err)
	       : k->verdict == KEEP ? lock_possible(t, err)
	                            : 0;
}

int tcp_review(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct tcp *t = state;
	struct known *k;
	int r;

	if (obj == t->host->object(t->ctx, 0) && (r = list_sockets(t, err)) < 0)
		return r;
	k = tcp_known(t, (uint32_t)obj->st.st_ino);
	r = k && k->obj ? judge(t, k, err) : crcore_fail(err, -EAGAIN, "it changed while it was looked at");
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}

int known_open(struct tcp *t, const struct known *k, struct crcore_error *err)
{
	const struct crcore_task *task;
	int fd = -1;

	for (uint32_t i = 0; (task = t->host->task(t->ctx, i)); i++)
		if (task->pid == k->pid)
			break;
	if (task)
		fd = (int)syscall(SYS_pidfd_getfd, task->pidfd, k->fd, 0);
	if (fd >= 0)
		return fd;
	crcore_fail_at(err, k->pid, k->fd, "socket:[%u]", k->ino);
	return crcore_fail(err, task ? -errno : -ESRCH, "cannot reach it from here");
}
