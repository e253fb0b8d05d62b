/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: whether some of what is still to be sent is urgent. The kernel keeps where such
 * data ends (snd_up) and tells nobody, so it is read where it is (plugins/bpf). Where
 * that cannot be done it goes on as plain data, which the log says.
 */
#include "plugins/bpf/peek.h"
#include "plugins/tcp/tcp.h"

static int find_end(struct peek *p, int fd, uint64_t *ret)
{
	uint64_t at;
	int r = peek_file(p, fd, &at);

	if (!r)
		r = peek_number(p, at, "file", "private_data", &at);
	if (!r)
		r = peek_number(p, at, "socket", "sk", &at);
	return r ? r : peek_number(p, at, "tcp_sock", "snd_up", ret);
}

static bool open_peek(struct tcp *t)
{
	struct crcore_error err = CRCORE_ERROR_INIT;

	if (!t->peek && !t->blind && peek_open(&t->peek, &err) < 0) {
		t->blind = true;
		t->host->log(t->ctx, 2, "urgent data that is still to be sent will arrive as plain "
		             "data: %s", err.message);
	}
	return t->peek;
}

/* What takes its time is to find out where members are: better while the tree runs. */
void urgent_prepare(struct tcp *t, int fd)
{
	uint64_t ignored;

	if (!t->peek && open_peek(t))
		find_end(t->peek, fd, &ignored);
}

uint32_t urgent_to_send(struct tcp *t, int fd, uint32_t first, uint32_t len)
{
	uint64_t end;
	int r;

	if (!len || !t->peek) /* urgent_prepare() */
		return 0;
	pthread_mutex_lock(&t->shared);
	r = find_end(t->peek, fd, &end);
	pthread_mutex_unlock(&t->shared);
	if (r < 0)
		return 0;
	return (uint32_t)end - first <= len ? (uint32_t)end - first : 0;
}
