/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: the terminals of the tree. One whose master is in the tree comes back
 * as it was. Of one whose master is outside only its user side is ours; it may
 * be replaced by another terminal if the tree is a job of a shell, since a
 * shell hands its terminal to its jobs anyway.
 */
#include "ttys.h"

#include "plugins/tasks.h"

#define DELETED " (deleted)"

/* -- /proc ---------------------------------------------------------------------- */

static dev_t decode(unsigned v)
{
	return makedev((v >> 8) & 0xfff, (v & 0xff) | ((v >> 12) & 0xfff00));
}

bool ttys_of_task(pid_t pid, dev_t *ret_dev, pid_t *ret_foreground)
{
	char path[40], text[512] = "", *p;
	int tty = 0, foreground = 0;
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	p = n > 0 ? strrchr(text, ')') : NULL; /* the name may hold anything */
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %d %d", &tty, &foreground) != 2)
		return false;
	*ret_dev = tty ? decode((unsigned)tty) : 0;
	*ret_foreground = foreground;
	return true;
}

/* -- the terminals of the tree ------------------------------------------------------ */

static bool is_hung_up(const struct crcore_object *obj)
{
	size_t len = strlen(obj->link), end = strlen(DELETED);

	return ttys_is_pts(obj->st.st_rdev) && len > end && !strcmp(obj->link + len - end, DELETED);
}

/* Which terminal a description is of. 0: /dev/tty, only its descriptor tells. */
static dev_t dev_of(const struct crcore_object *obj)
{
	const char *index = strstr(obj->fdinfo, "tty-index:");

	if (obj->st.st_rdev == MASTER_DEV)
		return makedev(UNIX98_PTY_SLAVE_MAJOR, index ? (unsigned)atoi(index + 10) : 0);
	return obj->st.st_rdev == CONTROLLING_DEV ? 0 : obj->st.st_rdev;
}

struct known *ttys_find(const struct ttys *t, dev_t dev, bool hung_up)
{
	for (unsigned i = 0; i < t->nknown; i++)
		if (t->known[i].dev == dev && t->known[i].hung_up == hung_up)
			return &t->known[i];
	return NULL;
}

struct known *ttys_known(const struct ttys *t, const struct crcore_object *obj)
{
	dev_t dev = dev_of(obj);
	unsigned v = 0;

	if (!dev && ioctl(obj->local_fd, TIOCGDEV, &v) < 0)
		return NULL;
	return ttys_find(t, dev ? dev : decode(v), is_hung_up(obj));
}

/* The same at the review, which has no descriptor: what is asked needs none of the terminal's
 * own state, so a duplicate of the task's may be held for a moment. */
static dev_t controlling_dev(const struct ttys *t, const struct crcore_object *obj)
{
	cleanup_close int fd = task_fetch(t->host, t->ctx, obj->pid, obj->fd);
	unsigned v = 0;

	return fd < 0 || ioctl(fd, TIOCGDEV, &v) < 0 ? 0 : decode(v);
}

static struct known *add(struct ttys *t, dev_t dev, bool hung_up)
{
	struct known *k = ttys_find(t, dev, hung_up);
	void *more;

	if (k)
		return k;
	more = realloc(t->known, (t->nknown + 1) * sizeof(*t->known));
	if (!more)
		return NULL;
	t->known = more;
	k = &t->known[t->nknown++];
	*k = (struct known){ .dev = dev, .hung_up = hung_up };
	return k;
}

static int list(struct ttys *t, struct crcore_error *err)
{
	const struct crcore_object *obj;

	t->nknown = 0;
	for (uint32_t i = 0; (obj = t->host->object(t->ctx, i)); i++) {
		dev_t dev = dev_of(obj);
		struct known *k = dev ? add(t, dev, is_hung_up(obj)) : NULL;
		if (!k && dev)
			return crcore_no_memory(err);
		if (k && obj->st.st_rdev == MASTER_DEV)
			k->master = true;
		else if (k)
			k->slaves++;
		if (k && !k->path && console_reopens(t, dev))
			k->path = obj->link;
	}
	return 0;
}

/* -- refusals -------------------------------------------------------------------------- */

/* The task of the tree that leads the session of a terminal, 0: none. */
static pid_t leader_of(const struct ttys *t, dev_t dev)
{
	const struct crcore_task *task;
	pid_t foreground;
	dev_t theirs;

	for (uint32_t i = 0; (task = t->host->task(t->ctx, i)); i++)
		if (task->pid == task->sid && ttys_of_task(task->pid, &theirs, &foreground) &&
		    theirs == dev)
			return task->pid;
	return 0;
}

static int review_outside(const struct ttys *t, dev_t dev, struct crcore_error *err)
{
	const struct crcore_task *root = t->host->task(t->ctx, 0);
	bool job = root && !task_find(t->host, t->ctx, root->sid);
	pid_t leader = leader_of(t, dev);

	if (t->external == EXTERNAL_INHERIT)
		return 0;
	if (leader) {
		crcore_advise(err, "dump the job, not the shell; or run the shell inside script(1), tmux "
		              "or screen and dump that");
		return crcore_fail(err, -ENOTSUP, "process %d leads the session of this terminal, but what "
		                   "drives the terminal is outside the tree", (int)leader);
	}
	if (t->external == EXTERNAL_JOB && job)
		return 0;
	crcore_advise(err, "start the program with files or /dev/null in place of the terminal, or set "
	              "external of the plugin ttys to inherit (it gets the terminal of crcore "
	              "restore)");
	return crcore_fail(err, -ENOTSUP, "what drives this terminal is outside the tree");
}

static int review_slave(const struct crcore_object *obj, struct crcore_error *err)
{
	struct stat st;

	if (stat(obj->link, &st) == 0 && st.st_rdev == obj->st.st_rdev && st.st_dev == obj->st.st_dev)
		return 0;
	crcore_advise(err, "run crcore where /dev/pts is the same as for the task");
	return crcore_fail(err, -ENOTSUP, "it is a pseudo-terminal of another devpts file system");
}

int ttys_review(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct ttys *t = state;
	struct known *k;
	dev_t dev;
	int r = 0;

	if (obj == t->host->object(t->ctx, 0) && (r = list(t, err)) < 0)
		return r;
	dev = dev_of(obj);
	if (!dev) {
		dev = controlling_dev(t, obj);
		if (!dev) {
			crcore_advise(err, "close it before the dump");
			r = crcore_fail(err, -ENOTSUP, "the terminal behind it is gone");
		} else if (!add(t, dev, false)) {
			r = crcore_no_memory(err);
		}
	} else if (ttys_is_pts(obj->st.st_rdev) && !is_hung_up(obj)) {
		r = review_slave(obj, err);
	}
	k = ttys_find(t, dev, is_hung_up(obj));
	if (!r && k && k->path)
		r = obj->st.st_rdev == dev ? console_review(obj, err) : 0;
	else if (!r && k && !k->master && !k->hung_up)
		r = review_outside(t, dev, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}
