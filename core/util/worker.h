/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Main and worker: the process that the user starts only waits; a worker that
 * it forks, in a session of its own, does what changes the world. So whatever
 * kills the first (kill -9, a closed terminal, a timeout) leaves somebody who
 * takes everything back through the ordinary failure path.
 */
#ifndef CRCORE_WORKER_H
#define CRCORE_WORKER_H

#include <crcore/error.h>
#include <stdbool.h>

struct worker {
	int channel;   /* to main: a SOCK_SEQPACKET socket */
	pid_t main;
};

/*
 * Runs work(arg) in a worker and waits for its end; returns what it returned,
 * with err as it filled it. serve (may be NULL) is called in main for each
 * message that the worker sends with worker_request(), with the descriptors
 * that came along; what it returns is worker_request()'s result.
 * SIGINT, SIGHUP and SIGTERM of main cancel the worker, whose end is then waited for; the first two
 * not if they were ignored. -EOWNERDEAD: it was killed, and (if_killed) what has become of things
 * then, for people.
 */
int worker_run(int (*work)(struct worker *, void *arg, struct crcore_error *),
               int (*serve)(void *arg, const void *msg, size_t len, const int *fds, int nfds,
                            struct crcore_error *),
               void *arg, const char *if_killed, struct crcore_error *);
/* Is main not to hear this signal, as nohup(1) begins it, or a script in the background? */
bool worker_ignores(int signo);
int worker_request(struct worker *, const void *msg, size_t len, const int *fds, int nfds,
                   struct crcore_error *);

/* -ECANCELED with an error once main is gone or the user wants to stop, else 0: loops that
 * take time and stages look at it. */
int worker_check(struct crcore_error *);

#define WORKER_MAX_FDS 8
#define WORKER_MAX_MSG 4096
#endif
