/* SPDX-License-Identifier: Apache-2.0 */
/* Small things every concern uses: cleanup attributes, growing arrays, clocks. */
#ifndef CRCORE_UTIL_H
#define CRCORE_UTIL_H

#include <errno.h>
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline void cleanup_free_(void *p) { free(*(void **)p); }
static inline void cleanup_close_(const int *fd) { if (*fd >= 0) close(*fd); }
static inline void cleanup_file_(FILE **f) { if (*f) fclose(*f); }
static inline void cleanup_dir_(DIR **d) { if (*d) closedir(*d); }
#define cleanup_free __attribute__((cleanup(cleanup_free_)))
#define cleanup_close __attribute__((cleanup(cleanup_close_)))
#define cleanup_file __attribute__((cleanup(cleanup_file_)))
#define cleanup_dir __attribute__((cleanup(cleanup_dir_)))
#define STEAL(p) ({ __typeof__(p) s_ = (p); (p) = NULL; s_; })
#define STEAL_FD(fd) ({ int s_ = (fd); (fd) = -1; s_; })

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define ALIGN_UP(x, a) (((x) + (a) - 1) & ~((__typeof__(x))(a) - 1))
#define PAGE 4096ULL

/* Makes room for one more element in array v of n (capacity: the next power of
 * two, at least 16). Returns false if out of memory; v is unchanged then. */
#define GROW(v, n) ({ \
	bool ok_ = true; \
	if (((n) & ((n) - 1)) == 0 && ((n) >= 16 || (n) == 0)) { \
		void *t_ = realloc((v), ((n) ? 2 * (size_t)(n) : 16) * sizeof(*(v))); \
		if (t_) (v) = t_; else ok_ = false; \
	} \
	ok_; })

static inline uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Log of the command: to stderr or --log-file. 0 error, 1 warning, 2 info, 3 debug. */
__attribute__((format(printf, 2, 3))) void log_line(int level, const char *fmt, ...);
struct crcore_error;
void log_error(int level, const struct crcore_error *); /* all that it says */
extern int log_level;
void log_open(int fd, int level); /* takes fd over; -1: stderr */
int log_descriptor(void);
#endif
