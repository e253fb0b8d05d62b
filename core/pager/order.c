/* SPDX-License-Identifier: Apache-2.0 */
/* See order.h. The file: a head, numbers of 4 bytes, all little endian. */
#include <endian.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "core/pager/order.h"
#include "core/util/util.h"

#define NAME "order-1.bin"
#define NAME_TMP NAME ".tmp"
#define MAGIC 0x31726564726f7263ull /* "crorder1" */

struct head {
	uint64_t magic, key, n;
	uint64_t sum; /* of the numbers */
};

bool order_begin(struct order *o, uint64_t pages_length)
{
	*o = (struct order){ .chunks = pages_length / ORDER_CHUNK + 1 };
	o->v = malloc(o->chunks * sizeof(*o->v));
	o->seen = calloc(o->chunks, 1);
	return o->v && o->seen;
}

static void note(struct order *o, uint64_t chunk)
{
	if (chunk >= o->chunks || o->seen[chunk])
		return;
	o->seen[chunk] = 1;
	o->v[o->n++] = (uint32_t)chunk;
}

void order_note(struct order *o, uint64_t offset)
{
	note(o, offset / ORDER_CHUNK);
}

void order_read(struct order *o, int dir, uint64_t key)
{
	cleanup_close int fd = openat(dir, NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct head h;

	if (fd < 0 || read(fd, &h, sizeof(h)) != (ssize_t)sizeof(h) || le64toh(h.magic) != MAGIC ||
	    le64toh(h.key) != key || le64toh(h.n) > o->chunks)
		return;
	const size_t n = le64toh(h.n);
	cleanup_free uint32_t *v = malloc(n * sizeof(*v) + 1);
	if (!v || read(fd, v, n * sizeof(*v)) != (ssize_t)(n * sizeof(*v)) ||
	    XXH3_64bits(v, n * sizeof(*v)) != le64toh(h.sum))
		return;
	for (size_t i = 0; i < n; i++)
		note(o, le32toh(v[i]));
}

bool order_write(const struct order *o, int dir, uint64_t key)
{
	cleanup_free uint32_t *v = malloc(o->n * sizeof(*v) + 1);

	for (size_t i = 0; v && i < o->n; i++)
		v[i] = htole32(o->v[i]);
	/* What is left of an earlier one that was killed is in the way. */
	unlinkat(dir, NAME_TMP, 0);
	cleanup_close int fd = openat(dir, NAME_TMP,
	                              O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (!v || fd < 0)
		return false;
	const struct head h = { htole64(MAGIC), htole64(key), htole64(o->n),
		                htole64(XXH3_64bits(v, o->n * sizeof(*v))) };
	bool ok = write(fd, &h, sizeof(h)) == (ssize_t)sizeof(h) &&
	          write(fd, v, o->n * sizeof(*v)) == (ssize_t)(o->n * sizeof(*v)) &&
	          renameat(dir, NAME_TMP, dir, NAME) == 0;
	if (!ok)
		unlinkat(dir, NAME_TMP, 0);
	return ok;
}
