/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pidfd: of a task or thread of the tree. It can be opened only once that
 * exists, which is after descriptions are handed out. So the coordinator makes
 * a stand-in, and when all are born the first task that has it opens the pidfd
 * and puts it in the place of the stand-in; the others take it from there. The
 * stand-in is a semaphore, by which they wait for the first.
 */
#include "events.h"

#include <linux/kcmp.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include "plugins/tasks.h"

#define THREAD O_EXCL /* PIDFD_THREAD */

/* -- dump --------------------------------------------------------------------------- */

/* The process of the tree that a pid, or the number of a thread, belongs to. */
static const struct crcore_task *owner(const struct events *e, pid_t pid)
{
	const struct crcore_task *task = task_find(e->host, e->ctx, pid);

	return task ? task : task_of_thread(e->host, e->ctx, pid);
}

/* Processes are there before any pidfd is opened, threads only those of who opens it. */
static int review_thread(const struct crcore_object *obj, const struct crcore_task *task,
                         struct crcore_error *err)
{
	if (obj->pid == task->pid)
		return 0;
	crcore_advise(err, "let the program close it");
	return crcore_fail(err, -ENOTSUP, "it is of a thread of another process, %d", (int)task->pid);
}

static int review(struct events *e, const struct crcore_object *obj, struct crcore_error *err)
{
	const char *p = fdinfo_find(obj->fdinfo, "Pid");
	pid_t pid = p ? (pid_t)atoi(p) : 0;
	const struct crcore_task *task = pid > 0 ? owner(e, pid) : NULL;

	if (task && task->pid == pid)
		return 0;
	if (task)
		return review_thread(obj, task, err);
	if (pid < 0 && !(obj->flags & THREAD))
		return 0;
	if (pid < 0) {
		crcore_advise(err, "let the program close it once it has seen the end of the thread");
		return crcore_fail(err, -ENOTSUP, "its thread has ended and nobody can make one like it");
	}
	crcore_advise(err, "dump a tree that holds the process, or let the program close it");
	return crcore_fail(err, -ENOTSUP, "it is of process %d, outside the tree", (int)pid);
}

struct places {
	const struct crcore_object *obj;
	Events__Event *rec;
	int error;
};

static int add_place(void *arg, pid_t pid, int fd)
{
	struct places *p = arg;
	cleanup_free char *info = NULL;
	Events__Place *place;
	void *more;

	if (syscall(SYS_kcmp, pid, p->obj->pid, KCMP_FILE, (long)fd, (long)p->obj->fd) != 0)
		return 0;
	info = fdinfo_read(pid, fd);
	more = realloc(p->rec->places, (p->rec->n_places + 1) * sizeof(*p->rec->places));
	if (more)
		p->rec->places = more;
	place = malloc(sizeof(*place));
	if (!info || !more || !place) {
		free(place);
		p->error = -ENOMEM;
		return 1;
	}
	events__place__init(place);
	place->pid = (uint32_t)pid;
	place->fd = (uint32_t)fd;
	place->cloexec = fdinfo_number(info, "flags", 8) & O_CLOEXEC;
	p->rec->places[p->rec->n_places++] = place;
	return 0;
}

/* The newer kernels tell how it ended. */
static int ended_as(int fd)
{
	struct info { uint64_t mask, cgroup; uint32_t ids[11]; int32_t status; };
	struct info info = { .mask = 1 << 3 };

	_Static_assert(sizeof(struct info) == 64, "struct pidfd_info, its first version");
	return ioctl(fd, _IOWR(0xff, 11, struct info), &info) == 0 && (info.mask & 1 << 3) ?
	       info.status : 0;
}

static int save(struct events *e, const struct crcore_object *obj, Events__Event *rec,
                struct crcore_error *err)
{
	struct places p = { .obj = obj, .rec = rec };
	const struct crcore_task *task;

	rec->pidfd = malloc(sizeof(*rec->pidfd));
	if (!rec->pidfd)
		return crcore_no_memory(err);
	events__pidfd__init(rec->pidfd);
	if (fdinfo_number(obj->fdinfo, "Pid", 10) == (uint64_t)-1) {
		rec->pidfd->ended = true;
		rec->pidfd->status = (uint32_t)ended_as(obj->local_fd);
		return 0;
	}
	rec->pidfd->pid = (uint32_t)fdinfo_number(obj->fdinfo, "Pid", 10);
	for (uint32_t i = 0; !p.error && (task = e->host->task(e->ctx, i)); i++)
		if (task->state != CRCORE_TASK_ZOMBIE && events_table(e, task) == task->pid)
			events_each_fd(task->pid, obj->st.st_ino, add_place, &p);
	if (p.error)
		return crcore_fail(err, p.error, "cannot tell who has it: %s", strerror(-p.error));
	if (rec->n_places != obj->holders)
		return crcore_fail(err, -ENOTSUP, "it has %u holders, but only %zu are found", obj->holders,
		                   rec->n_places);
	return 0;
}

/* -- restore ------------------------------------------------------------------------ */

static bool is(const Events__Event *rec)
{
	return rec->pidfd != NULL;
}

static int check(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	bool good = rec->n_places > 0 && rec->pidfd->pid > 0 && rec->pidfd->pid < INT_MAX;

	if (rec->pidfd->ended)
		return rec->n_places ? crcore_fail(err, -EBADMSG, "its record makes no sense") : 0;

	for (size_t i = 0; i < rec->n_places; i++)
		good &= rec->places[i]->fd < INT_MAX && rec->places[i]->pid < INT_MAX;
	return good ? 0 : crcore_fail(err, -EBADMSG, "its record makes no sense");
}

static int create(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	int fd;

	if (rec->pidfd->ended) {
		fd = e->host->ended(e->ctx, (int)rec->pidfd->status, err);
		if (fd >= 0 && rec->flags & O_NONBLOCK)
			fcntl(fd, F_SETFL, O_NONBLOCK);
		return fd;
	}
	fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	return fd < 0 ? crcore_fail(err, -errno, "cannot make a stand-in: %s", strerror(errno)) : fd;
}

static void close_result(struct events *e, struct crcore_program *p, uint32_t op)
{
	e->host->call(p, "events: close", SYS_close, ARGS(RESULT(op)), CRCORE_EQUAL, 0);
}

/* The stand-in, to post it once for each of the others, or to wait. */
static int meet(struct events *e, const Events__Event *rec, struct crcore_program *p, uint64_t post,
                struct crcore_error *err)
{
	uint32_t data = e->host->data(p, &post, sizeof(post)), op;
	int r = e->host->fetch(e->ctx, p, rec->id, &op, err);

	if (r < 0)
		return r;
	e->host->call(p, post ? "events: say that the pidfd is open" : "events: wait for the pidfd",
	              post ? SYS_write : SYS_read, ARGS(RESULT(op), DATA(data), IMM(sizeof(post))),
	              CRCORE_EQUAL, sizeof(post));
	close_result(e, p, op);
	return 0;
}

static void place(struct events *e, const Events__Event *rec, pid_t pid, struct crcore_program *p,
                  uint32_t op)
{
	for (size_t i = 0; i < rec->n_places; i++)
		if (rec->places[i]->pid == (uint32_t)pid)
			e->host->call(p, "events: place pidfd", SYS_dup3, ARGS(RESULT(op),
			              IMM(rec->places[i]->fd), IMM(rec->places[i]->cloexec ? O_CLOEXEC : 0)),
			              CRCORE_EQUAL, rec->places[i]->fd);
	close_result(e, p, op);
}

static uint64_t count_others(const Events__Event *rec)
{
	uint64_t n = 0;

	for (size_t i = 1; i < rec->n_places; i++) /* those of one task follow each other */
		n += rec->places[i]->pid != rec->places[i - 1]->pid;
	return n;
}

static int emit(struct events *e, const Events__Event *rec, const struct crcore_task *task,
                struct crcore_program *p, struct crcore_error *err)
{
	const Events__Place *first = rec->n_places ? rec->places[0] : NULL;
	uint32_t open_op, op;
	bool mine = false;
	int r;

	for (size_t i = 0; i < rec->n_places; i++)
		mine |= rec->places[i]->pid == (uint32_t)task->pid;
	if (!mine)
		return 0;
	if (first->pid == (uint32_t)task->pid) {
		op = e->host->call(p, "events: open pidfd", SYS_pidfd_open, ARGS(IMM(rec->pidfd->pid),
		                   IMM(rec->flags & (O_NONBLOCK | THREAD))), CRCORE_OK, 0);
		place(e, rec, task->pid, p, op);
		return count_others(rec) ? meet(e, rec, p, count_others(rec), err) : 0;
	}
	r = meet(e, rec, p, 0, err);
	if (r < 0)
		return r;
	open_op = e->host->call(p, "events: open pidfd of who has it", SYS_pidfd_open,
	                        ARGS(IMM(first->pid), IMM(0)), CRCORE_OK, 0);
	op = e->host->call(p, "events: take pidfd", SYS_pidfd_getfd, ARGS(RESULT(open_op),
	                   IMM(first->fd), IMM(0)), CRCORE_OK, 0);
	place(e, rec, task->pid, p, op);
	close_result(e, p, open_op);
	return 0;
}

const struct kind kind_pidfd = {
	.name = "[pidfd]", .title = "pidfd", .review = review, .save = save, .is = is, .check = check,
	.create = create, .emit = emit,
};
