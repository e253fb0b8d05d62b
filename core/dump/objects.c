/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects: what tasks hold and only plugins understand. Each is offered once
 * to all plugins; exactly one must take it.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "core/dump/dump.h"
#include "core/util/util.h"
#include "core/util/worker.h"

int objects_add(struct objects *os, struct object *o, struct crcore_error *err)
{
	if (!GROW(os->v, os->n)) {
		free(o->link);
		free(o->fdinfo);
		free(o);
		return crcore_no_memory(err);
	}
	os->v[os->n++] = o;
	o->abi.id = os->n;
	return 0;
}

void objects_free(struct objects *os)
{
	for (unsigned i = 0; i < os->n; i++) {
		os->v[i]->kept = false;
		object_close(os->v[i]);
		if (os->v[i]->found)
			close(os->v[i]->abi.fd);
		free(os->v[i]->link);
		free(os->v[i]->fdinfo);
		free(os->v[i]);
	}
	free(os->v);
	*os = (struct objects){ 0 };
}

/* Descriptors of our own that are left for everything else. */
#define SPARE 512

void objects_keep(struct objects *os)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 2 * SPARE) {
		rlim_t most = limit.rlim_cur - SPARE;
		os->keep = (unsigned)(most < INT_MAX ? most : INT_MAX) / 2;
	}
}

int object_open(struct object *o, struct crcore_error *err)
{
	int fd;

	if (o->abi.local_fd >= 0)
		return 0;
	if (o->found)
		fd = fcntl(o->abi.fd, F_DUPFD_CLOEXEC, 0);
	else if (o->abi.class_ == CRCORE_DESCRIPTION)
		fd = (int)syscall(SYS_pidfd_getfd, o->task->pidfd, o->abi.fd, 0);
	else
		fd = openat(o->task->proc, o->path, O_PATH | O_CLOEXEC);
	if (fd >= 0) {
		o->abi.local_fd = fd;
		return 0;
	}
	int e = errno;
	crcore_fail_at(err, o->abi.pid, o->abi.fd, "%s", o->link);
	if (e == EBADF || e == ENOENT || e == ESRCH)
		return crcore_fail(err, -EAGAIN, "it went away while it was looked at");
	if (e == EPERM)
		crcore_advise(err, "run crcore with CAP_SYS_PTRACE%s",
		              o->abi.class_ == CRCORE_FILE ? " and CAP_CHECKPOINT_RESTORE" : "");
	return crcore_fail(err, -e, "cannot reach it from here: %s", strerror(e));
}

void object_close(struct object *o)
{
	if (o->kept || o->abi.local_fd < 0)
		return;
	close(STEAL_FD(o->abi.local_fd));
}

/* In a tree that runs, a number may lead to another description by the time it is
 * opened, and a file may move: what a plugin finds wrong with the mixture means nothing. */
static bool changed(const struct object *o)
{
	char self[40], link[4096];
	struct stat st;

	if (o->abi.class_ != CRCORE_DESCRIPTION)
		return false;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", o->abi.local_fd);
	ssize_t n = readlink(self, link, sizeof(link) - 1);
	link[n < 0 ? 0 : n] = '\0';
	return fstat(o->abi.local_fd, &st) < 0 || st.st_dev != o->abi.st.st_dev ||
	       st.st_ino != o->abi.st.st_ino || strcmp(link, o->link);
}

/* The same of one that is not open. */
static bool changed_since(struct object *o)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	bool r = object_open(o, &ignored) < 0 || changed(o);

	object_close(o);
	return r;
}

static int claim(struct survey *s, struct object *o, struct host *host, struct crcore_error *err)
{
	struct crcore_error why = CRCORE_ERROR_INIT;
	int r = object_open(o, err);
	uint64_t note = 0;

	if (r < 0)
		return r;
	if (!s->quick || o->async) /* nothing is told anyone, so whom can wait for the frozen tree */
		r = object_owner(o, &s->tree, &why);
	o->abi.note = &note;
	if (r == 0)
		r = host_claim(host, &o->abi, &o->owner, &why);
	o->abi.note = NULL;
	if (r < 0 && changed(o))
		r = crcore_fail(err, -EAGAIN, "it changed while it was looked at");
	else if (r < 0)
		*err = why;
	if (r == 0 && o->abi.class_ == CRCORE_DESCRIPTION && !o->kept && s->objects.keep) {
		s->objects.keep--;
		o->kept = true;
	}
	object_close(o);
	if (r == 0)
		r = host_own(o->owner, &o->abi, err);
	if (r < 0)
		crcore_fail_at(err, o->abi.pid, o->abi.fd, "%s", o->link);
	return r;
}

static int call_review(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	return ctx->p.review(ctx->state, arg, err);
}

static int review(struct survey *s, struct object *o, struct host *host, struct crcore_error *err)
{
	if (!o->owner || !o->owner->p.review)
		return 0;
	struct crcore_error why = CRCORE_ERROR_INIT;
	int r = host_call(o->owner, STAGE_CLAIM, call_review, &o->abi, &why);

	if (r < 0 && !survey_changed(r) && changed_since(o))
		r = crcore_fail(err, -EAGAIN, "it changed while it was looked at");
	else if (r < 0)
		*err = why;
	if (r < 0)
		crcore_fail_at(err, o->abi.pid, o->abi.fd, "%s", o->link);
	return r;
}

/* One step for every object; with blockers, on after those that nobody can
 * save, but not after a plugin that hung: it cannot answer for the others. */
static int each_object(struct survey *s, struct host *host, struct blockers *blockers,
                       int (*step)(struct survey *, struct object *, struct host *,
                                   struct crcore_error *),
                       struct crcore_error *err)
{
	int r = host_series_start(host, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; r == 0 && i < s->objects.n; i++) {
		r = step(s, s->objects.v[i], host, err);
		if (r < 0 && !survey_changed(r) && r != -ENOMEM && r != -ETIMEDOUT && blockers) {
			blockers_take(blockers, s->objects.v[i], err);
			r = 0;
		}
	}
	host_series_stop(host);
	return r;
}

int survey_objects(struct survey *s, struct host *host, struct blockers *blockers,
                   struct crcore_error *err)
{
	int r = survey_descriptors(s, err);

	if (r == 0)
		r = survey_references(s, blockers, err);
	if (r == 0)
		r = each_object(s, host, blockers, claim, err);
	if (blockers)
		blockers->nalone = blockers->n;
	return r == 0 ? each_object(s, host, blockers, review, err) : r;
}

static int save_object(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	return ctx->p.save_object(ctx->state, arg, err);
}

int survey_save_objects(struct survey *s, struct host *host, struct crcore_error *err)
{
	int r = host_series_start(host, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; r == 0 && i < s->objects.n; i++) {
		struct object *o = s->objects.v[i];
		if (!o->owner->p.save_object)
			continue;
		if ((r = object_open(o, err)) == 0)
			r = host_call(o->owner, STAGE_SAVE, save_object, &o->abi, err);
		o->kept = false;
		object_close(o);
		if (r < 0)
			crcore_fail_at(err, o->abi.pid, o->abi.fd, "%s", o->link);
		if (r == 0 && (i & 63) == 0)
			r = worker_check(err);
	}
	host_series_stop(host);
	return r;
}
