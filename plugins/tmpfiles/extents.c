/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: where a file has data, and its contents into the archive. The archive
 * library wants the bytes of holes too and drops them: they are given from a
 * mapping that is never touched.
 */
#include "tmpfiles.h"

#include <sys/mman.h>

#define CHUNK (256u << 10)
#define ZEROES (64u << 20)

int extents_find(int fd, uint64_t size, struct extents *x)
{
	for (uint64_t at = 0; at < size;) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0; /* a hole to the end */
		off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (hole < 0 && errno != EINVAL)
			return -errno;
		if (hole < 0) { /* no file system to ask */
			data = (off_t)at;
			hole = (off_t)size;
		}
		if ((uint64_t)hole > size)
			hole = (off_t)size;
		if (data >= hole)
			return 0;
		if (!GROW(x->v, x->n))
			return -ENOMEM;
		x->v[x->n++] = (struct extent){ (uint64_t)data, (uint64_t)(hole - data) };
		x->bytes += (uint64_t)(hole - data);
		at = (uint64_t)hole;
	}
	return 0;
}

static int put(struct archive *a, const char *bytes, size_t len)
{
	while (len) {
		la_ssize_t n = archive_write_data(a, bytes, len);
		if (n <= 0)
			return n < 0 && archive_errno(a) > 0 ? -archive_errno(a) : -EIO;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

static int put_hole(struct archive *a, const char *zeroes, uint64_t len)
{
	int r = 0;

	for (size_t n; r == 0 && len; len -= n) {
		n = len < ZEROES ? (size_t)len : ZEROES;
		r = put(a, zeroes, n);
	}
	return r;
}

static int put_data(struct archive *a, int fd, const struct extent *e, char *buf)
{
	int r = 0;

	for (uint64_t done = 0; r == 0 && done < e->length;) {
		size_t want = e->length - done < CHUNK ? (size_t)(e->length - done) : CHUNK;
		ssize_t n = pread(fd, buf, want, (off_t)(e->offset + done));
		if (n <= 0)
			return n < 0 ? -errno : -EAGAIN; /* it has become shorter */
		r = put(a, buf, (size_t)n);
		done += (uint64_t)n;
	}
	return r;
}

int extents_write(struct archive *a, int fd, uint64_t size, const struct extents *x)
{
	cleanup_free char *buf = malloc(CHUNK);
	char *zeroes = mmap(NULL, ZEROES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
	                    0);
	uint64_t at = 0;
	int r = buf && zeroes != MAP_FAILED ? 0 : -ENOMEM;

	for (unsigned i = 0; r == 0 && i < x->n; i++) {
		r = put_hole(a, zeroes, x->v[i].offset - at);
		if (r == 0)
			r = put_data(a, fd, &x->v[i], buf);
		at = x->v[i].offset + x->v[i].length;
	}
	if (r == 0)
		r = put_hole(a, zeroes, size - at);
	if (zeroes != MAP_FAILED)
		munmap(zeroes, ZEROES);
	return r;
}
