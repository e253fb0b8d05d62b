/* SPDX-License-Identifier: Apache-2.0 */
/* Dump: bytes of queues on their way into the image, many queues in one write; several threads
 * bring them. */
#include "plugins/tcp/tcp.h"

#define SIZE (1u << 20)

int bytes_begin(struct tcp *t, struct crcore_error *err)
{
	struct bytes *b = &t->bytes;

	b->blob = t->host->blob(t->ctx, "socket", err);
	if (b->blob < 0)
		return b->blob;
	b->buf = malloc(SIZE);
	return b->buf ? 0 : crcore_no_memory(err);
}

static int flush(struct bytes *b)
{
	int r = b->used ? write_all(b->blob, b->buf, b->used) : 0;

	b->used = 0;
	return r;
}

/* With the lock held. */
static int add(struct bytes *b, const void *from, size_t len)
{
	int r = len > SIZE - b->used ? flush(b) : 0;

	if (r < 0)
		return r;
	if (len > SIZE)
		return write_all(b->blob, from, len);
	memcpy(b->buf + b->used, from, len);
	b->used += len;
	return 0;
}

int bytes_put(struct tcp *t, const void *from, size_t len, uint64_t *ret_at)
{
	struct bytes *b = &t->bytes;
	int r;

	pthread_mutex_lock(&t->shared);
	*ret_at = b->end;
	r = len ? add(b, from, len) : 0;
	b->end += len;
	pthread_mutex_unlock(&t->shared);
	return r;
}

int bytes_fail(int r, struct crcore_error *err)
{
	return r < 0 ? crcore_fail(err, r, "what is in sockets cannot be written to the image: %s",
	                           strerror(-r)) : 0;
}

int bytes_flush(struct tcp *t, struct crcore_error *err)
{
	return bytes_fail(flush(&t->bytes), err);
}
