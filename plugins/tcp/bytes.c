/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: bytes of queues on their way into the image, many queues in one write. They are
 * read right to where they are written from.
 */
#include "plugins/tcp/tcp.h"

#define SIZE (1u << 20)

int bytes_flush(struct tcp *t, struct crcore_error *err)
{
	struct bytes *b = &t->bytes;
	int blob, r;

	if (!b->used)
		return 0;
	blob = t->host->blob(t->ctx, "socket", err);
	if (blob < 0)
		return blob;
	r = write_all(blob, b->buf, b->used);
	b->used = 0;
	return r < 0 ? crcore_fail(err, r, "what is in sockets cannot be written to the image: %s",
	                           strerror(-r)) : 0;
}

char *bytes_room(struct tcp *t, size_t len, struct crcore_error *err)
{
	struct bytes *b = &t->bytes;

	if (len <= b->size - b->used)
		return b->buf + b->used;
	if (bytes_flush(t, err) < 0)
		return NULL;
	if (len > b->size) {
		bytes_free(t);
		b->buf = malloc(len < SIZE ? SIZE : len);
		if (!b->buf) {
			crcore_fail(err, -ENOMEM, "out of memory");
			return NULL;
		}
		b->size = len < SIZE ? SIZE : len;
	}
	return b->buf;
}

uint64_t bytes_keep(struct tcp *t, size_t len)
{
	uint64_t at = t->bytes.end;

	t->bytes.used += len;
	t->bytes.end += len;
	return at;
}

void bytes_free(struct tcp *t)
{
	free(t->bytes.buf);
	t->bytes.buf = NULL;
	t->bytes.size = t->bytes.used = 0;
}
