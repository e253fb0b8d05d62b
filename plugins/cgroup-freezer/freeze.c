/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Freezing a tree that runs, and waking one that is frozen. With version 1 a
 * frozen task does nothing at all, not even stop for its tracer, until it is
 * thawed; with version 2 it does stop for it. In a stop both can be frozen
 * again, and a task that is let go while it is frozen stays so: no instruction of
 * it is executed on the way.
 */
#include "cgroup-freezer.h"

#define PATIENCE 1000      /* ms, for a group to be frozen */
#define FIRST_LOOK 20      /* us */

/* The file and the text by which a group's state is set. */
const char *frost_file(const struct hierarchy *h)
{
	return h->v2 ? "cgroup.freeze" : "freezer.state";
}

const char *frost_text(const struct hierarchy *h, bool frozen)
{
	if (h->v2)
		return frozen ? "1" : "0";
	return frozen ? "FROZEN" : "THAWED";
}

int frost_write(const struct hierarchy *h, const char *path, bool frozen)
{
	return group_write(h, path, frost_file(h), frost_text(h, frozen));
}

int frost_will(struct cg *cg, const struct hierarchy *h, const char *group, bool frozen,
               struct crcore_error *err)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s%s/%s", h->mount, group, frost_file(h)) >=
	    (int)sizeof(path))
		return crcore_fail(err, -ENAMETOOLONG, "its path is too long");
	return CRCORE_HAS(cg->host, will) ?
	       cg->host->will(cg->ctx, path, frost_text(h, frozen), err) : 0;
}

static int set(struct frost *f, bool frozen)
{
	int r = f->is == frozen ? 0 : frost_write(f->h, f->path, frozen);

	if (r == 0)
		f->is = frozen;
	return r;
}

static bool is_frozen(const struct hierarchy *h, const char *path)
{
	char text[256];

	if (group_read(h, path, h->v2 ? "cgroup.events" : "freezer.state", text, sizeof(text)) < 0)
		return false;
	return strstr(text, h->v2 ? "frozen 1" : "FROZEN");
}

bool await_frozen(const struct hierarchy *h, const char *path)
{
	struct timespec pause = { 0, FIRST_LOOK * 1000 };
	long spent = 0;

	while (!is_frozen(h, path)) {
		if (spent > PATIENCE * 1000000L)
			return false;
		nanosleep(&pause, NULL);
		spent += pause.tv_nsec;
		if (pause.tv_nsec < 10000000)
			pause.tv_nsec *= 2;
	}
	return true;
}

/* Undo entry: whatever we changed is as it was. */
static void put_back(void *arg)
{
	struct cg *cg = arg;

	for (unsigned i = 0; i < cg->nfrosts; i++)
		if (set(&cg->frosts[i], cg->frosts[i].was) < 0)
			cg->host->log(cg->ctx, 1, "%s cannot be %s again", cg->frosts[i].path,
			              cg->frosts[i].was ? "frozen" : "thawed");
}

/* What becomes of it should we be killed is settled before it is changed. */
static int settle(struct cg *cg, struct frost *f, struct crcore_error *err)
{
	int r = frost_will(cg, f->h, f->path, f->was, err);

	if (r == 0 && !cg->pausing)
		r = cg->host->undo(cg->ctx, put_back, cg, false, err);
	cg->pausing |= r == 0;
	return r;
}

static int use_tool(struct cg *cg, struct crcore_error *err)
{
	struct frost *f = cg->tool;
	pid_t stranger = 0;
	int r = settle(cg, f, err);

	if (r < 0)
		return r;
	if ((r = set(f, true)) < 0)
		return crcore_fail(err, r, "cannot freeze cgroup %s: %s", f->path, strerror(-r));
	bool frozen = await_frozen(f->h, f->path);
	if (frozen && !*cg->freeze)
		stranger = find_stranger(cg, f->h, f->path);
	if (frozen && !stranger) {
		cg->host->log(cg->ctx, 2, "stopped by cgroup %s", f->path);
		return 1;
	}
	if (stranger)
		cg->host->log(cg->ctx, 2, "cgroup %s: process %d is not of the tree", f->path, stranger);
	else
		cg->host->log(cg->ctx, 1, "cgroup %s does not freeze; the tree is stopped without it",
		              f->path);
	r = set(f, false);
	return r < 0 ? crcore_fail(err, r, "cannot thaw cgroup %s: %s", f->path, strerror(-r)) : 0;
}

int freeze_pause(struct cg *cg, struct crcore_error *err)
{
	unsigned frozen = 0;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < cg->nfrosts; i++) {
		struct frost *f = &cg->frosts[i];
		int now = frost_state(f->h, f->path);
		if (now >= 0) /* it may have changed since we looked first */
			f->was = f->is = now;
		if (!f->was)
			continue;
		frozen++;
		cg->host->log(cg->ctx, 2, "cgroup %s is frozen", f->path);
		r = settle(cg, f, err);
	}
	if (r < 0 || frozen || !cg->tool)
		return r < 0 ? r : frozen > 0;
	return use_tool(cg, err);
}

/* Also version 2 is thawed to stop: a thread may be on its way back from the program of a
 * coordinator that was killed, and must get there first. */
int freeze_wake(struct cg *cg, struct crcore_error *err)
{
	for (unsigned i = 0; i < cg->nfrosts; i++) {
		struct frost *f = &cg->frosts[i];
		if (!f->is)
			continue;
		int r = set(f, false);
		if (r < 0)
			return crcore_fail(err, r, "cannot thaw cgroup %s: %s", f->path, strerror(-r));
	}
	return 0;
}

int freeze_rest(struct cg *cg, struct crcore_error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < cg->nfrosts; i++) {
		struct frost *f = &cg->frosts[i];
		int r = set(f, f->was);
		if (r < 0)
			ret = crcore_fail(err, r, "cannot %s cgroup %s again: %s", f->was ? "freeze" : "thaw",
			                  f->path, strerror(-r));
	}
	return ret;
}
