/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: options are many, a call of the kernel each. A thread reads them while
 * memory and queues are saved; who then needs them helps with the rest. It touches
 * nothing of the host, and of a socket's entry only what is its own.
 */
#include "plugins/tcp/tcp.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

struct ahead {
	pthread_t thread;
	struct tcp *t;
	unsigned next; /* taken by whoever comes */
};

static void *read_options(void *arg)
{
	struct ahead *a = arg;

	for (;;) {
		unsigned i = __atomic_fetch_add(&a->next, 1, __ATOMIC_RELAXED);
		if (i >= a->t->nknown)
			return NULL;
		struct known *k = &a->t->known[i];
		int fd = k->obj ? (int)syscall(SYS_pidfd_getfd, k->pidfd, k->fd, 0) : -1;
		if (fd < 0)
			continue;
		k->asked = net_options_read(&a->t->usual, fd, k->local.family, SOCK_STREAM, IPPROTO_TCP,
		                            &k->values, &k->nvalues) == 0;
		close(fd);
	}
}

/* What they are compared with must be there before two look for it. */
static void know_usual(struct tcp *t, int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	struct net_value *v;
	unsigned n;

	if (fd < 0)
		return;
	net_options_read(&t->usual, fd, family, SOCK_STREAM, IPPROTO_TCP, &v, &n);
	free(v);
	close(fd);
}

/* Undo entry: the descriptors of tasks that it uses are the host's. */
static void stop(void *state) { ahead_join(state, true); }

/* Without it save() asks itself: no failure. */
int ahead_start(struct tcp *t, struct crcore_error *err)
{
	struct ahead *a = t->nknown < 16 ? NULL : calloc(1, sizeof(*a));
	int r = a ? t->host->undo(t->ctx, stop, t, true, err) : 0;
	sigset_t all, old;

	if (!a || r < 0) {
		free(a);
		return r;
	}
	a->t = t;
	know_usual(t, AF_INET);
	know_usual(t, AF_INET6);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&a->thread, NULL, read_options, a) == 0) {
		t->ahead = a;
		a = NULL;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	free(a);
	return 0;
}

void ahead_join(struct tcp *t, bool stop)
{
	if (!t->ahead)
		return;
	if (stop)
		__atomic_store_n(&t->ahead->next, t->nknown, __ATOMIC_RELAXED);
	else
		read_options(t->ahead);
	pthread_join(t->ahead->thread, NULL);
	free(t->ahead);
	t->ahead = NULL;
}
