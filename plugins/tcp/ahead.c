/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: options are many, a call of the kernel each. A thread reads them from the
 * moment on at which a socket of the frozen tree is seen; who needs those of one
 * takes them out of its hands. It begins with the last, the others with the first.
 * It touches nothing of the host, and of a socket only its entry here.
 *
 * What a reader could break: repair mode changes SO_REUSEADDR. ahead_need() comes
 * before it.
 */
#include "plugins/tcp/tcp.h"

#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>

#define FEWEST 16 /* that are worth a thread */

struct ahead {
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t more;
	struct asked *last;
	bool closed;          /* no more will come */

	unsigned n;           /* that came */
	bool running;
	pthread_t thread;
	struct net_usual *usual;
};

/* Whoever is the first does it. */
static bool take(struct asked *x)
{
	int open = ASK_OPEN;

	return __atomic_compare_exchange_n(&x->state, &open, ASK_TAKEN, false, __ATOMIC_ACQUIRE,
	                                   __ATOMIC_RELAXED);
}

/* NULL: no more will come. */
static struct asked *next(struct ahead *a)
{
	struct asked *x;

	pthread_mutex_lock(&a->lock);
	while (!a->last && !a->closed)
		pthread_cond_wait(&a->more, &a->lock);
	x = a->closed ? NULL : a->last;
	a->last = x ? x->before : NULL;
	pthread_mutex_unlock(&a->lock);
	return x;
}

static int ask(struct net_usual *u, struct asked *x, int fd)
{
	return net_options_read(u, fd, x->family, SOCK_STREAM, IPPROTO_TCP, &x->values, &x->n);
}

/* The same task again, mostly. */
static int open_socket(const struct asked *x, pid_t *pid, int *pidfd)
{
	if (x->pid != *pid) {
		close_fd(pidfd);
		*pidfd = (int)syscall(SYS_pidfd_open, x->pid, 0);
		*pid = x->pid;
	}
	return (int)syscall(SYS_pidfd_getfd, *pidfd, x->fd, 0);
}

/* With a descriptor table of its own: calls of the kernel take longer in processes whose
 * threads share one, and wait when it grows. */
static void *work(void *arg)
{
	cleanup_close int pidfd = -1;
	struct ahead *a = arg;
	pid_t pid = 0;

	syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_UNSHARE);
	for (struct asked *x; (x = next(a));) {
		if (!take(x))
			continue;
		cleanup_close int fd = open_socket(x, &pid, &pidfd);
		bool done = fd >= 0 && ask(a->usual, x, fd) == 0;
		__atomic_store_n(&x->state, done ? ASK_DONE : ASK_OPEN, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* What they are compared with must be there before two look for it. */
static int know_usual(struct tcp *t, int family)
{
	cleanup_close int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	cleanup_free struct net_value *v = NULL;
	unsigned n;

	return fd < 0 ? 0 : net_options_read(&t->usual, fd, family, SOCK_STREAM, IPPROTO_TCP, &v, &n);
}

/* Undo entry. */
static void stop(void *state) { ahead_stop(state); }

/* Without the thread it is all left to ahead_need(): no failure. */
static int start(struct tcp *t, struct ahead *a, struct crcore_error *err)
{
	int r = t->host->undo(t->ctx, stop, t, true, err);
	sigset_t all, old;

	if (r < 0 || know_usual(t, AF_INET) < 0 || know_usual(t, AF_INET6) < 0)
		return r;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	a->running = pthread_create(&a->thread, NULL, work, a) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return 0;
}

static struct ahead *ahead_new(struct tcp *t)
{
	struct ahead *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->usual = &t->usual;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->more, NULL);
	return a;
}

/* What is read now stays so. */
static bool frozen(struct tcp *t)
{
	struct crcore_error unused = CRCORE_ERROR_INIT;

	return CRCORE_HAS(t->host, found) && t->host->found(t->ctx, -1, &unused) > 0;
}

int ahead_ask(struct tcp *t, struct known *k, const struct crcore_object *obj, struct crcore_error *err)
{
	struct asked *x = k->options = calloc(1, sizeof(*x));
	struct ahead *a = t->ahead;

	if (x)
		*x = (struct asked){ .pid = obj->pid, .fd = obj->fd, .family = k->local.family };
	if (x && (!frozen(t) || obj->pid == getpid()))
		return 0;
	if (x && !a)
		a = t->ahead = ahead_new(t);
	if (!x || !a)
		return crcore_fail(err, -ENOMEM, "out of memory");
	pthread_mutex_lock(&a->lock);
	x->before = a->last;
	a->last = x;
	pthread_cond_signal(&a->more);
	pthread_mutex_unlock(&a->lock);
	return ++a->n == FEWEST ? start(t, a, err) : 0;
}

int ahead_need(struct tcp *t, const struct known *k, int fd, struct crcore_error *err)
{
	struct asked *x = k->options;
	int state, r;

	while ((state = __atomic_load_n(&x->state, __ATOMIC_ACQUIRE)) != ASK_DONE) {
		if (state == ASK_TAKEN || !take(x)) {
			sched_yield();
			continue;
		}
		r = ask(&t->usual, x, fd);
		x->state = r < 0 ? ASK_OPEN : ASK_DONE;
		if (r < 0)
			return crcore_fail(err, r, "its options cannot be read: %s", strerror(-r));
	}
	return 0;
}

int ahead_value(const struct known *k, int level, int number, int usual)
{
	for (unsigned i = 0; i < k->options->n; i++)
		if (k->options->values[i].level == level && k->options->values[i].number == number)
			memcpy(&usual, k->options->values[i].data, sizeof(usual));
	return usual;
}

void ahead_stop(struct tcp *t)
{
	struct ahead *a = t->ahead;

	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->closed = true;
	pthread_cond_signal(&a->more);
	pthread_mutex_unlock(&a->lock);
	if (a->running)
		pthread_join(a->thread, NULL);
	pthread_cond_destroy(&a->more);
	pthread_mutex_destroy(&a->lock);
	free(a);
	t->ahead = NULL;
}
