/* SPDX-License-Identifier: Apache-2.0 */
/* What the worker and its pager say to each other. Only pager.c and serve.c include this. */
#ifndef CRCORE_PAGER_REQUEST_H
#define CRCORE_PAGER_REQUEST_H

#include "core/pager/priv.h"

enum { REQUEST_TAKE, REQUEST_SEGMENT, REQUEST_KEEP };
struct request {
	int kind;
	uint32_t space; /* or segment */
	int fd, pidfd; /* take, segment: in the worker */
	uint32_t n;   /* keep: so many pids follow */
};
struct reply { int result; struct crcore_error err; };

/* 1, 0: the other end is gone. */
static inline int request_read(int fd, void *to, size_t len)
{
	char *at = to;

	while (len) {
		ssize_t n = read(fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		at += n;
		len -= (size_t)n;
	}
	return 1;
}
#endif
