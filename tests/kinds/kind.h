/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A self-checking target: a small program that sets up one kind of state,
 * says that it is ready, waits until it is told that whatever was to happen to
 * it has happened (nothing, a dump that left it running, a dump and a restore),
 * and then verifies its own state. It does not know which of these it was.
 *
 *	int main(int argc, char **argv)
 *	{
 *		kind_init(argc, argv);
 *		... set up ...
 *		kind_ready();
 *		CHECK(... still as it was ...);
 *		kind_pass();
 *	}
 *
 * run-kind runs it; see README.md. Talk with it goes through files in its own
 * scratch folder that are opened only for a moment, so the target itself holds
 * no descriptors but 0 (/dev/null), 1 and 2 (regular files).
 *
 * Any process or thread of the target may fail; the first reason is kept.
 * Everything here copes with EINTR: what a checkpoint does to an interrupted
 * call is a test of its own, and must not fail all the others.
 */
#ifndef KIND_H
#define KIND_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Takes the scratch folder from argv[1]; call it first. */
void kind_init(int argc, char **argv);
/* Path of a file in the scratch folder; one of 8 static buffers, in turn. */
const char *kind_path(const char *name);

/* The usual way: kind_announce() and kind_wait(). */
void kind_ready(void);
/* Everything is set up. Call once, in any process of the target. */
void kind_announce(void);
/* Waits until it is over. Any process or thread may wait, before kind_announce() too. */
void kind_wait(void);
/* Whether it is over, for targets that work meanwhile. Two system calls or fewer. */
bool kind_over(void);
/* Before kind_announce(): /proc of this target changes while it waits (it works,
 * forks, maps), so run-kind must not compare it before and after. */
void kind_busy(void);

/* All is well. Only the root process may call it; ends it with status 0. */
_Noreturn void kind_pass(void);
/* Ends the calling process with status 1; the first reason is reported. */
__attribute__((format(printf, 1, 2))) _Noreturn void kind_fail(const char *fmt, ...);
/* Before kind_announce(): this machine cannot do what is tested. */
__attribute__((format(printf, 1, 2))) _Noreturn void kind_skip(const char *fmt, ...);

/* Fails with the place, the text and errno. */
#define CHECK(cond) \
	((cond) ? (void)0 \
	        : kind_fail("%s:%d: not true: %s (errno %d, %s)", __FILE__, __LINE__, #cond, errno, \
	                    strerror(errno)))
#define CHECK_EQ(a, b) \
	do { \
		long long a_ = (long long)(a), b_ = (long long)(b); \
		if (a_ != b_) \
			kind_fail("%s:%d: %s is %lld (%#llx), not %lld (%#llx)", __FILE__, __LINE__, #a, a_, \
			          (unsigned long long)a_, b_, (unsigned long long)b_); \
	} while (0)
#define CHECK_STR(a, b) \
	do { \
		const char *a_ = (a), *b_ = (b); \
		if (strcmp(a_, b_)) \
			kind_fail("%s:%d: %s is \"%s\", not \"%s\"", __FILE__, __LINE__, #a, a_, b_); \
	} while (0)

/* Forks; the child runs fn(arg) and ends with its result (normally 0). */
pid_t kind_fork(int (*fn)(void *arg), void *arg);
/* Reaps a child and checks that it ended with status 0. */
void kind_join(pid_t child);
/* Sleeps at least that long, whatever signals arrive. */
void kind_sleep_ms(long ms);
/* CLOCK_MONOTONIC, in milliseconds. */
int64_t kind_now_ms(void);
/* Waits (at most 10 s) until *word is value; for words in shared memory. */
void kind_until(const volatile int *word, int value);
/* Shared, anonymous, zeroed memory. */
void *kind_shared(size_t len);
/* Letter of /proc/PID/task/TID/stat; 0 if there is none. */
char kind_state(pid_t pid, pid_t tid);
/* Waits (at most 10 s) until a thread is in this state, e.g. 'S' or 'T'. */
void kind_until_state(pid_t pid, pid_t tid, char state);
/* The text after "Key:\t" in /proc/PID/status, one line; pid 0: self. */
const char *kind_status(pid_t pid, const char *key);
/* The number after "Key:" in the entry of /proc/self/smaps that p is in; -1 if there is none. */
long kind_smaps(const void *p, const char *key);

#endif
