/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: listening and bound sockets are all made when the first socket is asked for:
 * their ports must be free of others, while a connection in repair mode shares
 * any port. Both ends of a connection are made together. What must be done at
 * last is done through duplicates that wait in a bank.
 */
#include "plugins/net/filter.h"
#include "plugins/tcp/backlog.h"
#include "plugins/tcp/bank.h"
#include "plugins/tcp/inject.h"

static int fail(const struct made *m, int r, const char *what, struct crcore_error *err)
{
	char text[END_TEXT];

	if (m->local.family)
		crcore_fail_at(err, -1, -1, "socket %u at %s", m->rec->id, end_text(&m->local, text));
	return crcore_fail(err, r, "%s: %s", what, strerror(-r));
}

static int set_options(const struct made *m, unsigned when, struct crcore_error *err)
{
	int r = net_options_set(m->fd, m->rec->options, m->rec->n_options, when, err);

	if (r < 0)
		crcore_fail_at(err, -1, -1, "socket %u", m->rec->id);
	return r;
}

int made_socket(struct tcp *t, struct made *m, struct crcore_error *err)
{
	int r = 0;

	m->fd = socket((int)m->rec->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
	if (m->fd < 0)
		return fail(m, -errno, "cannot make a socket", err);
	if (m->rec->user_mss)
		r = set_int(m->fd, IPPROTO_TCP, T_MAXSEG, (int)m->rec->user_mss);
	return r < 0 ? fail(m, r, "cannot set TCP_MAXSEG", err) : set_options(m, NET_EARLY, err);
}

int made_bind(struct made *m, struct crcore_error *err)
{
	struct sockaddr_storage addr;
	socklen_t len;
	int r;

	if (!m->local.family || (!m->local.port && end_any(&m->local)))
		return 0;
	len = end_to(&m->local, &addr);
	if (bind(m->fd, (struct sockaddr *)&addr, len) == 0)
		return 0;
	r = -errno;
	if (r == -EADDRNOTAVAIL)
		crcore_advise(err, "give this machine the address, or use another: --set "
		              "'tcp.address-map+=OLD=NEW'");
	if (r == -EADDRINUSE)
		crcore_advise(err, "end the program that uses it");
	return fail(m, r, "cannot be bound to its address", err);
}

static int make_plain(struct tcp *t, struct made *m, struct crcore_error *err)
{
	int r;

	if (m->rec->state == TCP__STATE__CLOSED || m->rec->state == TCP__STATE__RESET)
		return ends_closed(t, m, err);
	if (m->rec->state == TCP__STATE__REFUSED)
		return ends_refused(t, m, err);
	r = made_socket(t, m, err);
	if (!r)
		r = made_bind(m, err);
	if (!r && m->rec->state == TCP__STATE__WAITING)
		r = ends_waiting(t, m, err);
	if (!r && m->rec->state == TCP__STATE__LISTENING && listen(m->fd, m->rec->backlog) < 0)
		r = fail(m, -errno, "cannot listen", err);
	return r;
}

static int finish(struct made *m, struct crcore_error *err)
{
	const Tcp__Socket *rec = m->rec;
	const struct net_buffers b = { rec->send_buffer, rec->receive_buffer, rec->buffer_lock };
	int r;

	if (rec->shut_read && shutdown(m->fd, SHUT_RD) < 0)
		return fail(m, -errno, "cannot be shut down", err);
	r = set_options(m, NET_LATE, err);
	if (r < 0)
		return r;
	if (rec->n_filter &&
	    (r = net_filter_set(m->fd, rec->filter, rec->n_filter, rec->filter_locked)) < 0)
		return fail(m, r, "cannot be given its filter", err);
	r = net_buffers_set(m->fd, &b);
	if (r < 0)
		return fail(m, r, "cannot be given its buffers", err);
	r = net_owner_set(m->fd, rec->uid, rec->gid, rec->mode, rec->flags);
	return r < 0 ? fail(m, r, "cannot be given its owner", err) : 0;
}

/* For release: only there the kernel gets the connections. */
static int keep(struct tcp *t, struct made *m, struct crcore_error *err)
{
	int fd, r;

	if (!m->repair && m->rec->state != TCP__STATE__CONNECTING)
		return 0;
	if (!t->bank)
		t->bank = bank_new();
	if (!t->banked)
		t->banked = calloc(t->nmade, sizeof(*t->banked));
	if (!t->bank || !t->banked)
		return crcore_fail(err, -ENOMEM, "cannot keep the connections");
	fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 0);
	r = fd < 0 ? -errno : bank_put(t->bank, fd);
	if (r < 0)
		return fail(m, r, "cannot be kept until the end of the restore", err);
	t->banked[t->nbanked++] = m;
	return 0;
}

static int complete(struct tcp *t, struct made *m, struct crcore_error *err)
{
	int r = finish(m, err);

	m->made = true;
	return r ? r : keep(t, m, err);
}

/* Both ends are there before one of them could speak to the other. */
static int make_connection(struct tcp *t, struct made *m, struct crcore_error *err)
{
	struct made *end[2] = { m, m->peer };
	int n = m->peer ? 2 : 1, r = 0;

	for (int i = 0; !r && i < n; i++)
		r = repair_connect(t, end[i], err);
	for (int i = 0; !r && i < n; i++)
		r = repair_receive(t, end[i], end[i]->rec->stream->receive_next -
		                   end[i]->rec->queues->received, first_to_send(end[i]), err);
	for (int i = 0; !r && i < n; i++)
		r = repair_send(t, end[i], err);
	for (int i = 0; !r && i < n; i++)
		r = complete(t, end[i], err);
	return r;
}

static int make(struct tcp *t, struct made *m, struct crcore_error *err)
{
	int r;

	if (m->made)
		return 0;
	if (m->rec->state == TCP__STATE__CONNECTED)
		return make_connection(t, m, err);
	r = make_plain(t, m, err);
	return r ? r : complete(t, m, err);
}

int tcp_create(void *state, uint32_t id, struct crcore_error *err)
{
	struct tcp *t = state;
	struct made *m = net_find(t->made, t->nmade, id);
	int r = 0, fd;

	if (!m)
		return net_not_found(id, err);
	for (unsigned i = 0; !t->built && !r && i < t->nmade; i++) {
		struct made *first = t->made[i];
		if (first->rec->state == TCP__STATE__LISTENING ||
		    (first->rec->state == TCP__STATE__NEW && first->local.port))
			r = make(t, first, err);
		if (!r && first->rec->state == TCP__STATE__LISTENING)
			r = waiting_fill(t, first, err);
	}
	waiting_done(t);
	t->built = true;
	if (!r)
		r = make(t, m, err);
	if (r < 0)
		return r;
	if (m->given)
		return crcore_fail(err, -EBADMSG, "object %u is wanted twice", id);
	m->given = true;
	fd = m->fd;
	m->fd = -1;
	return fd;
}

/* Out of repair mode, which clears SO_REUSEADDR; the kernel tells the peer our window. Also
 * where somebody has done that before and was killed. */
static int leave_repair(const struct made *m)
{
	int r = set_queue(m->fd, QUEUE_NONE);

	if (!r || r == -EPERM)
		r = set_repair(m->fd, REPAIR_OFF);
	return r ? r : net_option_again(m->fd, m->rec->options, m->rec->n_options, SOL_SOCKET,
	                                SO_REUSEADDR);
}

/* What waits to be sent goes its way. */
static int let_go(struct tcp *t, struct made *m, struct crcore_error *err)
{
	int r = m->repair ? leave_repair(m) : 0, cork;

	if (r < 0)
		return fail(m, r, "cannot leave repair mode", err);
	if (m->rec->state == TCP__STATE__CONNECTING)
		return ends_connecting(t, m, err);
	if (m->rec->stream && !m->peer && m->rec->queues->sent && !m->rec->queues->urgent_to_send)
		resend(t, m);
	if (!m->rec->stream || !m->rec->stream->fin_sent)
		return 0;
	/* The kernel asks the peer for its window only if the connection is open on both sides. */
	cork = get_int(m->fd, IPPROTO_TCP, T_CORK);
	set_int(m->fd, IPPROTO_TCP, T_CORK, 0);
	if (cork > 0)
		set_int(m->fd, IPPROTO_TCP, T_CORK, 1);
	return 0;
}

static void unlock(struct tcp *t)
{
	struct crcore_error err = CRCORE_ERROR_INIT;

	if (t->old_table && lock_remove(t, t->old_table, &err) < 0)
		t->host->log(t->ctx, 0, "the network lock stays: %s; take it away: nft delete table "
		             "inet %s",
		             err.message, t->old_table);
	lock_drop(t);
}

/* told: gets all of them, in their order. */
static void let_all_go(struct tcp *t, struct bank *told)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	const int *next;

	while (t->bank && bank_next(t->bank, &next)) {
		struct made *m = t->banked[bank_dropped(t->bank)];
		m->fd = *next;
		if (let_go(t, m, &err) < 0)
			t->host->log(t->ctx, 0, "%s: %s", err.object, err.message);
		m->fd = -1;
		if (told && bank_put(told, fcntl(*next, F_DUPFD_CLOEXEC, 0)) < 0)
			told = NULL;
		bank_drop(t->bank);
	}
}

/* What the kernel said of them to their peers has not arrived. */
static void tell_again(struct tcp *t, struct bank *told, unsigned first)
{
	const int *next;

	while (told && bank_next(told, &next)) {
		struct made *m = t->banked[first + bank_dropped(told)];
		m->fd = *next;
		if (m->repair)
			leave_repair(m);
		m->fd = -1;
		bank_drop(told);
	}
	bank_free(told);
}

/*
 * Undo entry, also of a restore that succeeds: from here on the tree lives, whatever
 * becomes of us, and the kernel has the connections. What the kernel says to a peer when
 * it gets one should arrive, so the lock goes first. But where our heir does this, the
 * tasks may run already: they get their connections first, and the peers are told later.
 */
static void finish_connections(void *state)
{
	struct tcp *t = state;
	const unsigned first = t->bank ? bank_dropped(t->bank) : 0;
	struct bank *told;

	if (t->failed)
		return;
	told = getpid() != t->worker && t->bank ? bank_new() : NULL;
	if (told)
		let_all_go(t, told);
	unlock(t);
	tell_again(t, told, first);
	let_all_go(t, NULL);
}

int tcp_restore_release(struct tcp *t, struct crcore_error *err)
{
	t->worker = getpid();
	return tcp_at_end(t, finish_connections, err);
}
