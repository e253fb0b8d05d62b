/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll, dump: what is registered, as fdinfo tells it, and where in the tree
 * the registered description is found now. The number under which it was
 * registered may be closed since, or lead to something else, or be one of
 * another task; kcmp(2) knows (KCMP_EPOLL_TFD), and where there are many the kernel's
 * memory (registered.c).
 */
#include "events.h"

#include <linux/kcmp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include "plugins/tasks.h"

#define KEPT_WHEN_DISABLED (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)
#define READY (EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDNORM | EPOLLRDBAND | EPOLLWRNORM | EPOLLRDHUP)

struct entry { /* one line of fdinfo */
	uint32_t number, events;
	uint64_t data, ino;
	unsigned sdev;
	uint32_t turn; /* how many lines before it have the same number */
	unsigned line; /* how many lines before it */
	uint64_t file; /* 0: not known, and kcmp(2) is to tell */
};
#define MANY 100 /* so many that it is worth while to know them all */

struct entries {
	struct entry *v;
	unsigned n;
	bool tried;        /* to know their files */
	struct events_fds fds; /* listed when the first is not at its number */
	bool listed;
};

/* -- fdinfo ------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return (x->turn > y->turn) - (x->turn < y->turn);
}

static int add_entry(const char *line, void *arg, struct crcore_error *err)
{
	struct entries *list = arg;
	struct entry e = { .turn = list->n, .line = list->n };
	unsigned long long data, ino;

	if (sscanf(line, "tfd: %u events: %x data: %llx pos:%*d ino:%llx sdev:%x", &e.number, &e.events,
	           &data, &ino, &e.sdev) != 5)
		return 0;
	e.data = data;
	e.ino = ino;
	if (!GROW(list->v, list->n))
		return crcore_no_memory(err);
	list->v[list->n++] = e;
	return 0;
}

static int read_entries(const char *fdinfo, struct entries *ret, struct crcore_error *err)
{
	int r = fdinfo_each(fdinfo, add_entry, ret, err);

	if (ret->n)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_number);
	for (unsigned i = 0, first = 0; i < ret->n; i++) {
		if (ret->v[i].number != ret->v[first].number)
			first = i;
		ret->v[i].turn = i - first;
	}
	return r;
}

static void forget_fds(struct entries *list)
{
	free(list->fds.v);
	list->fds = (struct events_fds){ 0 };
	list->listed = false;
}

static void entries_free(struct entries *list)
{
	free(list->v);
	forget_fds(list);
}

/* -- who has it ----------------------------------------------------------------------- */

struct search {
	struct events *events;
	const struct crcore_object *obj; /* the epoll */
	struct entries *list;
	const struct entry *entry;
	int fd;                          /* found: its number */
	int error;
	bool doubt;                      /* kcmp(2) is to tell in any case */
};

/* Files of all that is registered, if it is what fdinfo says. */
static void know_files(struct search *s)
{
	struct entries *list = s->list;
	struct registered *v = calloc(list->n, sizeof(*v));
	bool same = v && registered_read(s->events, s->obj, v, list->n);

	list->tried = true;
	for (unsigned i = 0; same && i < list->n; i++)
		same = v[list->v[i].line].number == list->v[i].number;
	for (unsigned i = 0; same && i < list->n; i++)
		list->v[i].file = v[list->v[i].line].file;
	free(v);
}

static int compare(struct search *s, pid_t pid, int fd)
{
	if (!s->list->tried && s->list->n >= MANY)
		know_files(s);
	if (s->entry->file && !s->doubt) {
		s->fd = fd;
		return registered_file(s->events, pid, fd) == s->entry->file;
	}
	struct kcmp_epoll_slot slot = { (uint32_t)s->obj->fd, s->entry->number, s->entry->turn };
	long r = syscall(SYS_kcmp, pid, s->obj->pid, KCMP_EPOLL_TFD, (long)fd, &slot);

	if (r == 0)
		s->fd = fd;
	if (r < 0 && errno != EBADF && errno != ESRCH)
		s->error = errno == ENOENT ? EAGAIN : errno;
	return r == 0 || s->error;
}

/* 1: descriptor fd of pid is what is registered; 0: it is not, or there is none. A socket
 * is one description, so its inode tells; kcmp(2) takes the longer the more is registered.
 * (stat(2) shows other devices than fdinfo where a file system has subvolumes.) */
static int is_target(struct search *s, pid_t pid, int fd)
{
	dev_t dev = makedev(s->entry->sdev >> 20, s->entry->sdev & 0xfffff);
	char path[48];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
	if (stat(path, &st) < 0 || st.st_ino != s->entry->ino)
		return 0;
	if (!S_ISSOCK(st.st_mode) || st.st_dev != dev)
		return compare(s, pid, fd);
	s->fd = fd;
	return 1;
}

/* Looks through the descriptors of that inode: all of the tree's are listed once, since to list
 * them takes long, and every registration may have to be looked for. */
static const struct crcore_task *find_elsewhere(struct events *e, struct search *s)
{
	struct entries *list = s->list;

	if (!list->listed && events_list_fds(e, &list->fds) < 0) {
		s->error = ENOMEM;
		return NULL;
	}
	list->listed = true;
	for (unsigned i = events_first_fd(&list->fds, s->entry->ino);
	     i < list->fds.n && list->fds.v[i].ino == s->entry->ino; i++) {
		struct events_fd *d = &list->fds.v[i];
		if (!s->entry->file || s->doubt) {
			if (is_target(s, d->pid, d->fd))
				return task_find(e->host, e->ctx, d->pid);
			continue;
		}
		if (!d->file)
			d->file = registered_file(e, d->pid, d->fd);
		if (d->file != s->entry->file)
			continue;
		s->fd = d->fd;
		return task_find(e->host, e->ctx, d->pid);
	}
	return NULL;
}

/* The task, preferably one that has it at the number under which it was registered. */
static const struct crcore_task *find(struct events *e, struct search *s)
{
	const struct crcore_task *task = task_find(e->host, e->ctx, s->obj->pid);
	int number = (int)s->entry->number;

	if (task && is_target(s, task->pid, number))
		return task;
	for (uint32_t i = 0; (!s->entry->file || s->doubt) && (task = e->host->task(e->ctx, i)); i++)
		if (is_target(s, task->pid, number))
			return task;
	return find_elsewhere(e, s);
}

static int locate(struct events *e, const struct crcore_object *obj, struct entries *list,
                  const struct entry *entry, pid_t *ret_pid, int *ret_fd, struct crcore_error *err)
{
	struct search s = { .events = e, .obj = obj, .list = list, .entry = entry };
	const struct crcore_task *task = find(e, &s);

	s.doubt = !task && entry->file;
	if (s.doubt) {
		forget_fds(list);
		task = find(e, &s);
	}
	if (!task && !s.error)
		compare(&s, obj->pid, obj->fd); /* whether it is still registered at all */
	if (s.error == EAGAIN)
		return crcore_fail(err, -EAGAIN, "what is registered changes");
	if (s.error == EOPNOTSUPP || s.error == EINVAL || s.error == EPERM) {
		crcore_advise(err, "use a kernel with CONFIG_KCMP and run crcore with CAP_SYS_PTRACE");
		return crcore_fail(err, -ENOTSUP, "the kernel does not tell what is registered: %s",
		                   strerror(s.error));
	}
	if (s.error)
		return crcore_fail(err, -s.error, "cannot compare what is registered: %s",
		                   strerror(s.error));
	if (!task) {
		crcore_advise(err, "let the program remove it (EPOLL_CTL_DEL) before it closes the "
		              "descriptor or passes it on");
		return crcore_fail(err, -ENOTSUP, "what is registered under the number %u is held only "
		                   "outside the tree or in flight", entry->number);
	}
	*ret_pid = events_table(e, task);
	*ret_fd = s.fd;
	return 0;
}

static int review(struct events *e, const struct crcore_object *obj, struct crcore_error *err)
{
	struct entries list = { 0 };
	int fd, r = read_entries(obj->fdinfo, &list, err);
	pid_t pid;

	for (unsigned i = 0; !r && i < list.n; i++)
		r = locate(e, obj, &list, &list.v[i], &pid, &fd, err);
	entries_free(&list);
	return r;
}

/* -- records --------------------------------------------------------------------------- */

bool target_disabled(const Events__Target *t)
{
	return t->events & EPOLLONESHOT && !(t->events & ~KEPT_WHEN_DISABLED);
}

/* What has taken the number meanwhile must be put back, without losing anything. */
static int look_at_number(Events__Target *t, struct crcore_error *err)
{
	cleanup_free char *info = NULL;

	if (t->fd == t->number)
		return 0;
	info = fdinfo_read((pid_t)t->pid, (int)t->number);
	t->taken = info != NULL;
	t->cloexec = info && fdinfo_number(info, "flags", 8) & O_CLOEXEC;
	if (info && fdinfo_find(info, "lock")) {
		crcore_advise(err, "dump when the lock is not held");
		return crcore_fail(err, -ENOTSUP, "the number %u under which something is registered is "
		                   "now a file with a lock", t->number);
	}
	return 0;
}

static uint32_t ready(struct events *e, const Events__Target *t)
{
	cleanup_close int fd = task_fetch(e->host, e->ctx, (pid_t)t->pid, (int)t->fd);
	struct pollfd p = { .fd = fd, .events = (short)READY };

	return fd >= 0 && poll(&p, 1, 0) > 0 ? (uint32_t)p.revents & READY : 0;
}

static Events__Target *add_target(Events__Event *rec, const struct entry *entry)
{
	Events__Target *t = malloc(sizeof(*t));

	if (!t)
		return NULL;
	events__target__init(t);
	t->number = entry->number;
	t->events = entry->events;
	t->data = entry->data;
	rec->targets[rec->n_targets++] = t;
	return t;
}

static int save_targets(struct events *e, const struct crcore_object *obj, Events__Event *rec,
                        struct entries *list, struct crcore_error *err)
{
	int fd = -1, r = 0;
	pid_t pid = 0;

	rec->targets = calloc(list->n + 1, sizeof(*rec->targets));
	for (unsigned i = 0; !r && i < list->n; i++) {
		Events__Target *t = rec->targets ? add_target(rec, &list->v[i]) : NULL;
		if (!t)
			return crcore_no_memory(err);
		r = locate(e, obj, list, &list->v[i], &pid, &fd, err);
		if (r < 0)
			return r;
		t->pid = (uint32_t)pid;
		t->fd = (uint32_t)fd;
		r = look_at_number(t, err);
		if (target_disabled(t))
			t->ready = ready(e, t);
	}
	return r;
}

static int save(struct events *e, const struct crcore_object *obj, Events__Event *rec,
                struct crcore_error *err)
{
	const struct crcore_task *task = task_find(e->host, e->ctx, obj->pid);
	struct entries list = { 0 };
	struct epoll_params params = { 0 };
	int r = read_entries(obj->fdinfo, &list, err);

	rec->epoll = malloc(sizeof(*rec->epoll));
	if (r < 0 || !rec->epoll || !task) {
		entries_free(&list);
		return crcore_no_memory(err);
	}
	events__epoll__init(rec->epoll);
	rec->epoll->pid = (uint32_t)events_table(e, task);
	rec->epoll->fd = (uint32_t)obj->fd;
	if (ioctl(obj->local_fd, EPIOCGPARAMS, &params) == 0) {
		rec->epoll->busy_poll_usecs = params.busy_poll_usecs;
		rec->epoll->busy_poll_budget = params.busy_poll_budget;
		rec->epoll->prefer_busy_poll = params.prefer_busy_poll;
	}
	r = save_targets(e, obj, rec, &list, err);
	entries_free(&list);
	return r;
}

static bool is(const Events__Event *rec)
{
	return rec->epoll != NULL;
}

const struct kind kind_epoll = {
	.name = "[eventpoll]", .title = "epoll", .review = review, .save = save, .is = is,
	.check = epoll_check, .create = epoll_make, .emit = epoll_emit,
};
