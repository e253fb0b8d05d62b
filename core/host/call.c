/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calling a hook under a time limit. A timer sends a real-time signal to the
 * calling thread; its handler leaves the hook by siglongjmp and the plugin is
 * dead from then on.
 *
 * What a reader could break: the handler may leave only code of the plugin. In
 * a service of the host it waits for the service to return; in the C library,
 * unless blocked in a system call, it looks again a little later, because
 * malloc or stdio left half way would harm what comes next, the undo.
 *
 * The timer is armed once for a series of calls (limit_start .. limit_stop)
 * and re-armed by the handler if it fires early: a call costs no system call.
 */
#include <dlfcn.h>
#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include "core/host/arch/x86_64.h"
#include "core/host/internal.h"
#include "core/util/trace.h"
#include "core/util/util.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define LIMIT_SIGNAL (SIGRTMAX - 3)
#define LOOK_AGAIN 5000000u /* ns */
#define LOOKS_MAX 200u      /* then leave the hook wherever it is */

struct limit {
	timer_t timer;
	pid_t tid;                    /* whom the timer signals */
	unsigned depth;               /* limit_start() without limit_stop() */
	volatile uint64_t armed;      /* when it will fire, 0: not armed */
	sigset_t mask;                /* before limit_start() */
	struct range { uintptr_t start, end; } libc[2]; /* where stdio is, and malloc */
};

struct call {
	sigjmp_buf leave;
	struct call *outer;           /* of another plugin, on behalf of which this one runs */
	struct limit *limit;
	volatile uint64_t deadline;
	uint64_t allowed;             /* ns */
	volatile sig_atomic_t services; /* how many services of the host it is in */
	volatile sig_atomic_t looks;
	volatile sig_atomic_t expired;  /* leave at the end of the service */
};

/* The hook that this thread is in; the handler has no other way to know. */
static _Thread_local struct call *volatile current;

static void arm(struct limit *l, uint64_t when)
{
	const struct timespec end = { (time_t)(when / 1000000000u), (long)(when % 1000000000u) };
	struct itimerspec t = { .it_value = end };

	l->armed = when;
	timer_settime(l->timer, TIMER_ABSTIME, &t, NULL);
}

/* Is the interrupted thread at work in the C library (not just waiting there)? */
static bool in_libc(const struct limit *l, const ucontext_t *uc)
{
	uintptr_t ip = arch_signal_ip(uc);

	for (unsigned i = 0; i < ARRAY_SIZE(l->libc); i++)
		if (ip >= l->libc[i].start + 2 && ip + 2 <= l->libc[i].end)
			return !arch_signal_was_waiting(uc);
	return false;
}

static void on_timer(int sig, siginfo_t *si, void *context)
{
	struct call *c = current;
	int saved = errno;

	if (!c || si->si_code != SI_TIMER)
		return;
	uint64_t now = now_ns();

	c->limit->armed = 0;
	if (now < c->deadline) {
		arm(c->limit, c->deadline);
	} else if (c->services) {
		c->expired = 1;
	} else if (in_libc(c->limit, context) && c->looks < (int)LOOKS_MAX) {
		c->looks = c->looks + 1;
		arm(c->limit, now + LOOK_AGAIN);
	} else {
		siglongjmp(c->leave, 1);
	}
	errno = saved;
}

void service_enter(void)
{
	if (current)
		current->services = current->services + 1;
}

void service_leave(void)
{
	struct call *c = current;

	if (!c)
		return;
	c->services = c->services - 1;
	if (!c->services && c->expired)
		siglongjmp(c->leave, 1);
}

void service_alive(void)
{
	struct call *c = current;
	uint64_t now = now_ns();

	if (c && !c->expired && now < c->deadline)
		c->deadline = now + c->allowed;
}

/* Narrows a range of one address to the segment that it lies in. */
static int find_segment(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct range *r = arg;

	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type == PT_LOAD && r->start >= start && r->start < start + ph->p_memsz) {
			*r = (struct range){ start, start + ph->p_memsz };
			return 1;
		}
	}
	return 0;
}

static void find_libc(struct limit *l)
{
	static const char *const probes[] = { "fprintf", "malloc" };

	for (unsigned i = 0; i < ARRAY_SIZE(probes); i++) {
		l->libc[i].start = (uintptr_t)dlsym(RTLD_DEFAULT, probes[i]);
		dl_iterate_phdr(find_segment, &l->libc[i]);
	}
}

/* A timer for the calling thread; that of another (before a fork) is not ours to use. */
static int make_timer(struct limit *l, pid_t tid, struct crcore_error *err)
{
	struct sigaction sa = {
		.sa_sigaction = on_timer,
		.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER,
	};
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = LIMIT_SIGNAL };

	ev.sigev_notify_thread_id = tid;
	if (sigaction(LIMIT_SIGNAL, &sa, NULL) < 0 ||
	    timer_create(CLOCK_MONOTONIC, &ev, &l->timer) < 0) {
		int rc = -errno;
		return crcore_fail(err, rc, "no timer for the time limit of plugins: %s", strerror(-rc));
	}
	l->tid = tid;
	l->depth = 0;
	l->armed = 0;
	return 0;
}

int limit_start(struct host *h, struct crcore_error *err)
{
	pid_t tid;
	sigset_t set;

	if (h->limit && h->limit->depth) { /* of a series: it costs no system call */
		h->limit->depth++;
		return 0;
	}
	tid = (pid_t)syscall(SYS_gettid);
	if (!h->limit) {
		h->limit = calloc(1, sizeof(*h->limit));
		if (!h->limit)
			return crcore_no_memory(err);
		find_libc(h->limit);
	}
	int rc = h->limit->tid == tid ? 0 : make_timer(h->limit, tid, err);

	if (rc < 0)
		return rc;
	h->limit->depth = 1;
	sigemptyset(&set);
	sigaddset(&set, LIMIT_SIGNAL);
	sigprocmask(SIG_UNBLOCK, &set, &h->limit->mask);
	return 0;
}

void limit_stop(struct host *h)
{
	struct itimerspec never = { 0 };

	if (--h->limit->depth)
		return;
	if (h->limit->armed)
		timer_settime(h->limit->timer, 0, &never, NULL);
	h->limit->armed = 0;
	sigprocmask(SIG_SETMASK, &h->limit->mask, NULL);
}

void limit_free(struct host *h)
{
	if (h->limit && h->limit->tid == (pid_t)syscall(SYS_gettid))
		timer_delete(h->limit->timer);
	free(h->limit);
	h->limit = NULL;
}

/* The hook's error becomes the caller's, unless that is filled from before. */
static void pass_error(struct crcore_error *err, struct crcore_error *from, const char *plugin)
{
	struct crcore_error old;

	if (!err || err->code)
		return;
	old = *err;
	*err = *from;
	err->message[sizeof(err->message) - 1] = 0;
	err->object[sizeof(err->object) - 1] = 0;
	err->advice[sizeof(err->advice) - 1] = 0;
	snprintf(err->plugin, sizeof(err->plugin), "%s", plugin);
	if (err->pid < 0)
		err->pid = old.pid;
	if (err->fd < 0)
		err->fd = old.fd;
	if (!err->object[0])
		memcpy(err->object, old.object, sizeof(err->object));
	if (!err->advice[0])
		memcpy(err->advice, old.advice, sizeof(err->advice));
}

/* What a hook returned, made a proper errno with a proper error. */
static int judge(struct crcore_ctx *ctx, enum stage stage, int rc, struct crcore_error *mine,
                 struct crcore_error *err)
{
	char who[sizeof(mine->plugin)];

	if (rc >= 0)
		return rc;
	/* A failure of another plugin that this one passes on keeps its name. */
	snprintf(who, sizeof(who), "%.39s", mine->code && mine->plugin[0] ? mine->plugin : ctx->p.name);
	if (rc < -4095 || !mine->code)
		crcore_advise(mine, "this is a bug of the plugin: tell its author");
	if (rc < -4095) {
		int odd = rc;
		rc = mine->code < 0 && mine->code >= -4095 ? mine->code : -EINVAL;
		crcore_fail(mine, rc, "its hook of stage \"%s\" returned %d, which is no errno",
		            stage_name(stage), odd);
	}
	crcore_fail(mine, rc, "failed in stage \"%s\" without saying why: %s", stage_name(stage),
	            strerror(-rc));
	mine->code = rc;
	pass_error(err, mine, who);
	return rc;
}

static int hung(struct crcore_ctx *ctx, enum stage stage, struct crcore_error *err)
{
	struct crcore_error mine = CRCORE_ERROR_INIT;

	ctx->dead = true;
	ctx->host->hung = true;
	crcore_advise(&mine, "if it only needs more time, set time-limit for it in the policy");
	crcore_fail(&mine, -ETIMEDOUT, "did not come back from stage \"%s\" within %.3g s",
	            stage_name(stage), (double)ctx->time_limit / 1e9);
	pass_error(err, &mine, ctx->p.name);
	return -ETIMEDOUT;
}

/* Gives the outer call back the time that the inner one took, and its alarm. */
static void back_to(struct call *outer, uint64_t began)
{
	current = outer;
	if (!outer)
		return;
	outer->deadline = outer->deadline + (now_ns() - began);
	if (!outer->limit->armed || outer->limit->armed > outer->deadline)
		arm(outer->limit, outer->deadline);
}

int limit_call(struct crcore_ctx *ctx, enum stage stage, int (*fn)(struct crcore_ctx *, void *arg,
               struct crcore_error *), void *arg, struct crcore_error *err)
{
	struct limit *l = ctx->host->limit;
	struct crcore_error mine = CRCORE_ERROR_INIT;
	const unsigned depth = l->depth;
	const uint64_t began = now_ns();
	struct call c = { .outer = current, .limit = l, .allowed = (uint64_t)ctx->time_limit,
	                  .deadline = began + (uint64_t)ctx->time_limit };

	if (sigsetjmp(c.leave, 0)) {
		sigset_t set;

		sigemptyset(&set);
		sigprocmask(SIG_SETMASK, &l->mask, NULL); /* what the hook may have blocked */
		sigaddset(&set, LIMIT_SIGNAL);
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		l->depth = depth;
		back_to(c.outer, began);
		return hung(ctx, stage, err);
	}
	current = &c;
	if (!l->armed || l->armed > c.deadline)
		arm(l, c.deadline);
	int rc = fn(ctx, arg, &mine);

	back_to(c.outer, began);
	return judge(ctx, stage, rc, &mine, err);
}

int host_call(struct crcore_ctx *ctx, enum stage stage, int (*fn)(struct crcore_ctx *, void *arg,
              struct crcore_error *), void *arg, struct crcore_error *err)
{
	if (ctx->dead) {
		if (err && !err->code)
			snprintf(err->plugin, sizeof(err->plugin), "%s", ctx->p.name);
		return crcore_fail(err, -ETIMEDOUT, "is not called in stage \"%s\": it did not come back "
		                   "from an earlier one", stage_name(stage));
	}
	uint64_t start = trace_start();
	int rc = limit_start(ctx->host, err);

	if (rc < 0)
		return rc;
	rc = limit_call(ctx, stage, fn, arg, err);
	if (stage != STAGE_CLAIM) /* asked of every plugin for every object */
		trace_end(start, TRACE_HERE, "plugin", "%s: %s", ctx->p.name, stage_name(stage));
	limit_stop(ctx->host);
	return rc;
}

int host_series_start(struct host *h, struct crcore_error *err)
{
	return limit_start(h, err);
}

void host_series_stop(struct host *h)
{
	limit_stop(h);
}
