/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error object. Every function that can fail takes one as its last
 * parameter, returns a negative errno, and fills it at most once. Whoever
 * fills it knows the object best; nobody prints it but the driver of the
 * command, once, as one line:
 *
 *   Error: <plugin>: pid <pid>: fd <fd>: <object>: <message>; <advice>
 *
 * Parts that are not known (empty, -1) are left out.
 */
#ifndef CRCORE_ERROR_H
#define CRCORE_ERROR_H

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct crcore_error {
	int32_t code;      /* negative errno; 0: not filled */
	pid_t pid;         /* task concerned, -1: none */
	int32_t fd;        /* descriptor concerned, -1: none */
	char plugin[40];   /* who failed; empty: the core */
	char object[300];  /* what could not be handled: a path, a mapping, a record */
	char message[400]; /* why */
	char advice[300];  /* what the user can do about it */
};

#define CRCORE_ERROR_INIT { 0, -1, -1, "", "", "", "" }

/* Fills message and code unless an earlier, deeper failure already did. Returns code. */
__attribute__((format(printf, 3, 4)))
static inline int crcore_fail(struct crcore_error *err, int code, const char *fmt, ...)
{
	if (err && !err->code) {
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(err->message, sizeof(err->message), fmt, ap);
		va_end(ap);
		err->code = code;
	}
	return code;
}

/* The failure that needs no other words. */
static inline int crcore_no_memory(struct crcore_error *err)
{
	return crcore_fail(err, -ENOMEM, "out of memory");
}

/* Names the object of a failure, unless it is named already. */
__attribute__((format(printf, 4, 5)))
static inline void crcore_fail_at(struct crcore_error *err, pid_t pid, int fd, const char *fmt, ...)
{
	if (!err)
		return;
	if (err->pid < 0)
		err->pid = pid;
	if (err->fd < 0)
		err->fd = fd;
	if (!err->object[0]) {
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(err->object, sizeof(err->object), fmt, ap);
		va_end(ap);
	}
}

/* Says what to do about a failure, unless something was said already. */
__attribute__((format(printf, 2, 3)))
static inline void crcore_advise(struct crcore_error *err, const char *fmt, ...)
{
	if (err && !err->advice[0]) {
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(err->advice, sizeof(err->advice), fmt, ap);
		va_end(ap);
	}
}

#ifdef __cplusplus
}
#endif
#endif
