/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: connections that are not simply open. The half-closed ones go
 * through the same states once more, told by segments that only look like those
 * of the peer. Closed ones that are still open as a descriptor do that with a
 * peer that never was: their true one does not hear of it.
 */
#include "plugins/tcp/inject.h"

#include <time.h>

#define TRIES 500
#define MINHOPCOUNT 73 /* IPV6_MINHOPCOUNT */

static int fail(const struct made *m, int r, const char *what, struct crcore_error *err)
{
	char here[END_TEXT];

	crcore_fail_at(err, -1, -1, "socket %u at %s", m->rec->id, end_text(&m->local, here));
	return crcore_fail(err, r, "%s: %s", what, strerror(-r));
}

static uint8_t state_of(int fd)
{
	uint8_t info[8] = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, T_INFO, info, &len) < 0 ? 0 : info[0];
}

/* Says something as the peer, until the socket is in the state that this leads to. */
static int tell(struct tcp *t, const struct made *m, uint8_t flags, uint32_t seq, uint32_t ack,
                uint8_t state, struct crcore_error *err)
{
	const struct said what = { .flags = flags, .window = 0xffff, .seq = seq, .ack = ack };
	struct timespec pause = { 0, 100000 };
	int r;

	for (int i = 0; i < TRIES; i++) {
		if (i)
			nanosleep(&pause, NULL);
		r = i % 50 ? 0 : inject(t, &m->remote, &m->local, &what);
		if (r < 0)
			return fail(m, r, "cannot be told what its peer has said", err);
		if (state_of(m->fd) == state)
			return 0;
	}
	crcore_advise(err, "is the loopback interface up (ip link set lo up), and does no firewall "
	              "rule drop packets from this machine to itself?");
	return fail(m, -ETIMEDOUT, "is not in the state that its connection had", err);
}

/* The peer's FIN, where that came before ours. */
int ends_peer_first(struct tcp *t, struct made *m, struct crcore_error *err)
{
	const Tcp__Stream *st = m->rec->stream;

	if (!st->fin_received || st->first_to_close)
		return 0;
	return tell(t, m, SEG_FIN | SEG_ACK, st->receive_next, m->una, ST_CLOSE_WAIT, err);
}

/* What came after our FIN. */
int ends_peer_last(struct tcp *t, struct made *m, struct crcore_error *err)
{
	const Tcp__Stream *st = m->rec->stream;
	bool acked = m->una == st->send_next + 1;
	int r = 0;

	if (!st->fin_sent)
		return 0;
	r = set_queue(m->fd, QUEUE_NONE);
	if (r < 0)
		return fail(m, r, "cannot be told what its peer has said", err);
	if (acked && !st->fin_received)
		return tell(t, m, SEG_ACK, st->receive_next, m->una, ST_FIN_WAIT2, err);
	if (acked)
		return tell(t, m, st->first_to_close ? SEG_FIN | SEG_ACK : SEG_ACK,
		            st->receive_next + !st->first_to_close, m->una, ST_CLOSE, err);
	if (st->fin_received && st->first_to_close)
		return tell(t, m, SEG_FIN | SEG_ACK, st->receive_next, m->una, ST_CLOSING, err);
	return 0;
}

/* -- closed ones ----------------------------------------------------------------------------- */

/* Another address of this machine, should it not have the old one any more. */
static void use_loopback(struct tcp *t, struct made *m)
{
	static const uint8_t one[16] = { [15] = 1 };
	char text[END_TEXT];

	t->host->log(t->ctx, 1, "a closed connection of %s gets a loopback address: this machine does "
	             "not have its own", end_text(&m->local, text));
	if (m->local.family == AF_INET6)
		memcpy(m->local.ip, one, 16);
	else
		memcpy(m->local.ip, (uint8_t[]){ 127, 0, 0, 1 }, 4);
	m->local.scope = 0;
}

static int bind_somewhere(struct tcp *t, struct made *m, struct crcore_error *err)
{
	struct crcore_error first = CRCORE_ERROR_INIT;
	int r;

	if (!m->local.family)
		m->local.family = (uint16_t)m->rec->family;
	if (end_any(&m->local))
		use_loopback(t, m);
	r = made_bind(m, &first);
	if (r != -EADDRNOTAVAIL) {
		if (r < 0)
			*err = first;
		return r;
	}
	use_loopback(t, m);
	return made_bind(m, err);
}

/* A peer on this machine that never was; the port is one that nobody is connected to. */
static int connect_nowhere(struct tcp *t, struct made *m, struct crcore_error *err)
{
	struct sockaddr_storage to;

	m->remote = m->local;
	for (int i = 0; i < TRIES; i++) {
		m->remote.port = (uint16_t)(1 + t->nowhere++ % 60000);
		if (m->remote.port == m->local.port)
			continue;
		socklen_t len = end_to(&m->remote, &to);
		if (connect(m->fd, (struct sockaddr *)&to, len) == 0)
			return 0;
		if (errno != EADDRNOTAVAIL && errno != EADDRINUSE)
			break;
	}
	return fail(m, -errno, "cannot be connected for a moment, to be closed", err);
}

/*
 * The kernel answers in the name of that peer, with a reset. Its segments have
 * the usual time to live, ours the largest that there is.
 */
static int only_ours(const struct made *m, bool on, struct crcore_error *err)
{
	bool v4 = end_is_v4(&m->local);
	int level = v4 ? IPPROTO_IP : IPPROTO_IPV6, option = v4 ? IP_MINTTL : MINHOPCOUNT;
	int r = set_int(m->fd, level, option, on ? 255 : 0);

	if (!r && !on)
		r = net_option_again(m->fd, m->rec->options, m->rec->n_options, level, option);
	return r < 0 ? fail(m, r, "cannot be kept from listening", err) : 0;
}

int ends_closed(struct tcp *t, struct made *m, struct crcore_error *err)
{
	/* Shows that it was connected: another dump looks at it. */
	static const uint32_t sack[2] = { 4, 0 };
	const Tcp__Queues *q = m->rec->queues;
	uint32_t next = q ? q->received : 0; /* both sequences begin at 1 */
	int r = made_socket(t, m, err);

	if (r < 0)
		return r;
	r = set_repair(m->fd, REPAIR_ON);
	m->repair = !r;
	if (!r)
		r = repair_sequence(m->fd, QUEUE_SEND, 1);
	if (!r)
		r = repair_sequence(m->fd, QUEUE_RECEIVE, 1);
	if (r < 0)
		return fail(m, r, "cannot be given its numbers", err);
	if ((r = bind_somewhere(t, m, err)) < 0 || (r = only_ours(m, true, err)) < 0 ||
	    (r = connect_nowhere(t, m, err)) < 0 ||
	    (q && (r = repair_receive(t, m, 1, 1, err)) < 0))
		return r;
	setsockopt(m->fd, IPPROTO_TCP, T_REPAIR_OPTIONS, sack, sizeof(sack));
	set_queue(m->fd, QUEUE_NONE);
	if (m->rec->state == TCP__STATE__RESET) {
		r = tell(t, m, SEG_RST, 1 + next, 0, ST_CLOSE, err);
		return r ? r : only_ours(m, false, err);
	}
	r = tell(t, m, SEG_FIN | SEG_ACK, 1 + next, 1, ST_CLOSE_WAIT, err);
	if (r < 0)
		return r;
	set_queue(m->fd, QUEUE_SEND);
	if (shutdown(m->fd, SHUT_WR) < 0)
		return fail(m, -errno, "cannot be shut down", err);
	set_queue(m->fd, QUEUE_NONE);
	r = tell(t, m, SEG_ACK, 2 + next, 2, ST_CLOSE, err);
	return r ? r : only_ours(m, false, err);
}

/* A connect that failed: nobody listens there. */
int ends_refused(struct tcp *t, struct made *m, struct crcore_error *err)
{
	cleanup_close int other = socket((int)m->rec->family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	struct timespec pause = { 0, 100000 };
	struct sockaddr_storage to;
	struct end nobody;
	socklen_t len;
	int r = made_socket(t, m, err);

	if (r < 0 || (r = bind_somewhere(t, m, err)) < 0)
		return r;
	nobody = m->local;
	nobody.port = 0;
	len = end_to(&nobody, &to);
	if (other < 0 || bind(other, (struct sockaddr *)&to, len) < 0 ||
	    getsockname(other, (struct sockaddr *)&to, &len) < 0)
		return fail(m, -errno, "cannot find a port where nobody listens", err);
	if (connect(m->fd, (struct sockaddr *)&to, len) == 0 || errno != EINPROGRESS)
		return fail(m, -errno, "cannot be refused again", err);
	for (int i = 0; i < TRIES && state_of(m->fd) != ST_CLOSE; i++)
		nanosleep(&pause, NULL);
	if (m->rec->error_read)
		get_int(m->fd, SOL_SOCKET, SO_ERROR);
	return 0;
}

/* Its other end is in the backlog of a listening socket, which exists by now. */
int ends_waiting(struct tcp *t, struct made *m, struct crcore_error *err)
{
	struct timespec pause = { 0, 100000 };
	struct sockaddr_storage to;
	socklen_t len = end_to(&m->remote, &to);

	if (set_int(m->fd, SOL_SOCKET, SO_MARK, (int)LOCK_MARK) < 0 ||
	    (connect(m->fd, (struct sockaddr *)&to, len) < 0 && errno != EINPROGRESS))
		return fail(m, -errno, "cannot be connected again", err);
	for (int i = 0; i < TRIES && state_of(m->fd) == ST_SYN_SENT; i++)
		nanosleep(&pause, NULL);
	set_int(m->fd, SOL_SOCKET, SO_MARK, 0);
	net_option_again(m->fd, m->rec->options, m->rec->n_options, SOL_SOCKET, SO_MARK);
	return 0;
}

/* At last: a connect that was under way begins again. */
int ends_connecting(struct tcp *t, struct made *m, struct crcore_error *err)
{
	struct sockaddr_storage to;
	socklen_t len = end_to(&m->remote, &to);
	int flags = fcntl(m->fd, F_GETFL);

	if (flags < 0 || fcntl(m->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return fail(m, -errno, "its flags cannot be changed", err);
	if (connect(m->fd, (struct sockaddr *)&to, len) < 0 && errno != EINPROGRESS)
		t->host->log(t->ctx, 1, "a connection that was being made cannot be made: %s",
		             strerror(errno));
	if (fcntl(m->fd, F_SETFL, flags) < 0)
		return fail(m, -errno, "its flags cannot be changed", err);
	return 0;
}
