/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small things that every plugin of this folder wants: variables that clean up after
 * themselves, lists that grow, files that are read and written whole, a clock, a page. A plugin
 * elsewhere writes its own or copies them.
 */
#ifndef PLUGINS_UTIL_H
#define PLUGINS_UTIL_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static inline void cleanup_free_(void *p) { free(*(void **)p); }
static inline void cleanup_close_(const int *fd) { if (*fd >= 0) close(*fd); }
static inline void cleanup_dir_(DIR **d) { if (*d) closedir(*d); }
#define cleanup_free __attribute__((cleanup(cleanup_free_)))
#define cleanup_close __attribute__((cleanup(cleanup_close_)))
#define cleanup_dir __attribute__((cleanup(cleanup_dir_)))

#define PAGE 4096ULL

/* Room for one more element: capacities are powers of two, at least 16. */
#define GROW(v, n) ({ \
	bool ok_ = true; \
	if (((n) & ((n) - 1)) == 0 && ((n) >= 16 || (n) == 0)) { \
		void *t_ = realloc((v), ((n) ? 2 * (size_t)(n) : 16) * sizeof(*(v))); \
		if (t_) (v) = t_; else ok_ = false; \
	} \
	ok_; })

/* Of a clock that nobody sets. */
static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* To a file, to the end. Negative errno. */
static inline int write_all(int fd, const void *buf, size_t len)
{
	for (const char *at = buf; len;) {
		ssize_t n = write(fd, at, len);
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* All of a file, with a 0 behind it; free it. In so many reads: what /proc gives in one is as it
 * was at one moment. Negative errno. */
static inline int read_opened(int fd, char **ret, unsigned *ret_reads)
{
	size_t room = 64 << 10, len = 0;
	char *text = malloc(room), *more = text;
	ssize_t n = 0;

	*ret = NULL;
	*ret_reads = 0;
	while (more && (n = read(fd, text + len, room - 1 - len)) > 0) {
		len += (size_t)n;
		++*ret_reads;
		if (len == room - 1 && (more = realloc(text, 2 * room)))
			text = more, room *= 2;
	}
	if (!more || n < 0) {
		int r = !more ? -ENOMEM : -errno;
		free(text);
		return r;
	}
	text[len] = '\0';
	*ret = text;
	return 0;
}

/* The same by its name. */
static inline int read_counted(int dir, const char *name, char **ret, unsigned *ret_reads)
{
	cleanup_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

	*ret = NULL;
	*ret_reads = 0;
	return fd < 0 ? -errno : read_opened(fd, ret, ret_reads);
}

static inline int read_whole(int dir, const char *name, char **ret)
{
	unsigned reads;

	return read_counted(dir, name, ret, &reads);
}

#endif
