/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: which two sockets of the tree are the ends of one connection, by their
 * addresses; what becomes of a connection whose other end is outside.
 */
#include "plugins/tcp/backlog.h"

#include <linux/tcp.h>
#include <sys/syscall.h>
#include "plugins/tasks.h"

static int by_inode(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

static int by_tuple(const void *a, const void *b)
{
	const struct known *x = *(struct known *const *)a, *y = *(struct known *const *)b;
	int r = end_compare(&x->local, &y->local);

	return r ? r : end_compare(&x->remote, &y->remote);
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

bool listens_at(const struct tcp *t, const struct end *local)
{
	return t->listening[local->port / 8] & 1 << local->port % 8;
}

static int pidfd_of(const struct tcp *t, pid_t pid)
{
	const struct crcore_task *task = task_find(t->host, t->ctx, pid);

	return task ? task->pidfd : -1;
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
			k->pidfd = pidfd_of(t, obj->pid);
		}
	}
	tcp_look(t);
	graph_free(&t->graph);
	graph_free(&t->making);
	free(t->by_tuple);
	t->ntuples = 0;
	t->by_tuple = calloc(t->nknown + 1, sizeof(*t->by_tuple));
	if (!t->by_tuple)
		return crcore_no_memory(err);
	memset(t->listening, 0, sizeof(t->listening));
	for (unsigned i = 0; i < t->nknown; i++)
		if (t->known[i].state == ST_LISTEN)
			t->listening[t->known[i].local.port / 8] |= (uint8_t)(1 << t->known[i].local.port % 8);
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

	crcore_advise(err, "use --tcp-established to keep it, --tcp-close to have it closed, or the "
	              "option connections of the plugin tcp for a choice by address");
	return crcore_fail(err, -ENOTSUP, "the other end of its connection %s -> %s is outside the "
	                   "tree", end_text(&k->local, here), end_text(&k->remote, there));
}

static int again(struct crcore_error *err)
{
	return crcore_fail(err, -EAGAIN, "the tree changes while it is looked at");
}

/* A connection waits at a listening socket that is to be kept there. */
static int judge_kept(struct tcp *t, const struct known *k, const struct other *o,
                      struct crcore_error *err)
{
	int r = t->may_requeue ? 0 : reqsk_possible(&t->kfunc, err);
	char there[END_TEXT];

	t->may_requeue = !r;
	if (!r)
		r = lock_possible(t, err);
	if (r < 0 || (!k->device && !link_local(&o->local)))
		return r;
	crcore_advise(err, "dump when it has been accepted, or drop it: --set tcp.in-flight=drop");
	return crcore_fail(err, -ENOTSUP, "a connection from %s waits to be accepted, which belongs to "
	                   "one network device", end_text(&o->remote, there));
}

/* Those who connect later are taken as they come. */
static int judge_backlog(struct tcp *t, const struct known *k, struct crcore_error *err)
{
	int r = graph_take(&t->graph, GRAPH_ALL, err);

	for (unsigned i = 0; !r && i < t->graph.n; i++)
		if (waits_in_backlog(&t->graph.v[i]) && t->graph.v[i].local.port == k->local.port)
			r = judge_kept(t, k, &t->graph.v[i], err);
	return r;
}

/* Right now: what was seen when it was claimed is some time ago. */
static bool nobody_waits(struct tcp *t, const struct known *k)
{
	struct crcore_error unused = CRCORE_ERROR_INIT;
	cleanup_close int fd = known_open(t, k, &unused);
	struct tcp_info info;
	socklen_t len = sizeof(info);

	return fd >= 0 && getsockopt(fd, IPPROTO_TCP, T_INFO, &info, &len) == 0 &&
	       info.tcpi_state == ST_LISTEN && !info.tcpi_unacked;
}

/* Who may be in its backlog, or about to be, which is asked first. Mostly nobody waits, and then
 * the rest need not be asked for. */
static int take_backlog(struct tcp *t, const struct known *k, const struct graph **ret,
                        struct crcore_error *err)
{
	bool few = !keeps_backlog(t) && !t->graph.taken;
	int r = few ? graph_take(&t->making, 1u << ST_SYN_RECV, err) : 0;

	*ret = few && nobody_waits(t, k) ? &t->making : &t->graph;
	return r < 0 || *ret == &t->making ? r : graph_take(&t->graph, GRAPH_ALL, err);
}

/* Connections that wait at a listening socket; those of the tree itself are made again. */
static int judge_listening(struct tcp *t, const struct known *k, struct crcore_error *err)
{
	const struct graph *g = &t->graph;
	int r = t->drop_in_flight ? 0 : take_backlog(t, k, &g, err);

	if (!r && t->hold_listening)
		r = lock_possible(t, err);
	if (r < 0 || keeps_backlog(t))
		return r < 0 ? r : judge_backlog(t, k, err);
	for (unsigned i = 0; !r && !t->drop_in_flight && i < g->n; i++) {
		const struct other *o = &g->v[i];
		struct known key = { .local = o->local, .remote = o->remote };
		if (o->ino || o->local.port != k->local.port || o->state == ST_FIN_WAIT2 ||
		    o->state == ST_FIN_WAIT1 || o->state == ST_LAST_ACK || o->state == ST_CLOSING)
			continue;
		struct known *client = find_peer(t, &key);
		char there[END_TEXT];
		if ((client && o->state == ST_ESTABLISHED && !o->received) ||
		    (!client && t->keep_in_flight))
			continue;
		crcore_advise(err, "dump when it has been accepted, or keep it: --set tcp.in-flight=keep, "
		              "or drop it: --set tcp.in-flight=drop");
		return crcore_fail(err, -ENOTSUP, "a connection from %s%s %s", end_text(&o->remote, there),
		                   client ? ", with data in it," : "",
		                   o->state == ST_SYN_RECV ? "is being made" : "waits to be accepted");
	}
	return r;
}

/* Its other end is not among the sockets of the tree. */
static int judge_outside(struct tcp *t, struct known *k, struct crcore_error *err)
{
	const struct other *o;
	int r;

	k->incoming = listens_at(t, &k->local);
	k->verdict = policy_find(t, &k->local, &k->remote, k->incoming);
	r = graph_take(&t->graph, GRAPH_ALL, err);
	o = r < 0 ? NULL : graph_find(&t->graph, &k->remote, &k->local);
	if (o && waits_in_backlog(o) && listens_at(t, &o->local)) { /* the listening socket decides */
		k->waited = keeps_backlog(t);
		k->unaccepted = !k->waited && o->state == ST_ESTABLISHED;
		if (k->waited)
			k->verdict = KEEP;
		if (k->waited || k->unaccepted)
			return 0;
	}
	if (o && o->ino)
		r = graph_in_tree(t, o->ino, err);
	if (r)
		return r < 0 ? r : again(err);
	return k->verdict == REFUSE ? refuse_outside(k, err)
	       : k->verdict == KEEP ? lock_possible(t, err)
	                            : 0;
}

/* Only sock_diag tells whom a socket wants to be connected to. */
static int judge_connecting(struct tcp *t, struct known *k, struct crcore_error *err)
{
	int r = graph_take(&t->graph, GRAPH_ALL, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < t->graph.n; i++)
		if (t->graph.v[i].ino == k->ino) {
			k->remote = t->graph.v[i].remote;
			return 0;
		}
	return again(err);
}

static int judge(struct tcp *t, struct known *k, struct crcore_error *err)
{
	if (k->state == ST_SYN_SENT)
		return judge_connecting(t, k, err);
	if (k->state == ST_LISTEN)
		return judge_listening(t, k, err);
	return state_connected(k->state) && !k->peer ? judge_outside(t, k, err) : 0;
}

int tcp_review(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct tcp *t = state;
	struct known *k;
	int r;

	if (obj == t->host->object(t->ctx, 0) && (r = list_sockets(t, err)) < 0)
		return r;
	k = tcp_known(t, (uint32_t)obj->st.st_ino);
	r = !k || !k->obj ? crcore_fail(err, -EAGAIN, "it changed while it was looked at")
	    : k->failed   ? known_tell(k, err)
	                  : judge(t, k, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}

int review_backlogs(struct tcp *t, struct crcore_error *err)
{
	int r = 0;

	graph_free(&t->graph);
	graph_free(&t->making);
	for (unsigned i = 0; !r && i < t->nknown; i++)
		if (t->known[i].obj && t->known[i].state == ST_LISTEN)
			r = judge_listening(t, &t->known[i], err);
	return r;
}

int known_borrow(struct tcp *t, const struct known *k, struct crcore_error *err)
{
	return k->obj->local_fd >= 0 ? k->obj->local_fd : known_open(t, k, err);
}

void known_return(const struct known *k, int fd)
{
	if (fd >= 0 && fd != k->obj->local_fd)
		close(fd);
}

int known_open(struct tcp *t, const struct known *k, struct crcore_error *err)
{
	/* What no task has a descriptor of, but is in flight, is ours for now. */
	int fd = k->pid == getpid() ? fcntl(k->fd, F_DUPFD_CLOEXEC, 0)
	                            : (int)syscall(SYS_pidfd_getfd, k->pidfd, k->fd, 0);

	if (fd >= 0)
		return fd;
	crcore_fail_at(err, k->pid, k->fd, "socket:[%u]", k->ino);
	return crcore_fail(err, -errno, "cannot reach it from here: %s", strerror(errno));
}
