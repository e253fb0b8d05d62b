/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small things that every plugin of this folder wants: variables that clean up after
 * themselves, lists that grow, writing to the end. A plugin elsewhere writes its own or copies them.
 */
#ifndef PLUGINS_UTIL_H
#define PLUGINS_UTIL_H

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_(void *p) { free(*(void **)p); }
static inline void cleanup_close_(const int *fd) { if (*fd >= 0) close(*fd); }
static inline void cleanup_dir_(DIR **d) { if (*d) closedir(*d); }
#define cleanup_free __attribute__((cleanup(cleanup_free_)))
#define cleanup_close __attribute__((cleanup(cleanup_close_)))
#define cleanup_dir __attribute__((cleanup(cleanup_dir_)))

/* Room for one more element: capacities are powers of two, at least 16. */
#define GROW(v, n) ({ \
	bool ok_ = true; \
	if (((n) & ((n) - 1)) == 0 && ((n) >= 16 || (n) == 0)) { \
		void *t_ = realloc((v), ((n) ? 2 * (size_t)(n) : 16) * sizeof(*(v))); \
		if (t_) (v) = t_; else ok_ = false; \
	} \
	ok_; })

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

#endif
