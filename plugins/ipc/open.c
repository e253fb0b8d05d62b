/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: POSIX message queues. Made by a helper in the name of their owner, to
 * whose share of memory for queues the kernel counts them; those without a name
 * lose it at once. Whoever is to be told of a message asks for it itself.
 */
#include "ipc.h"

#include <mqueue.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* ---- records ---- */

static struct queue *find(const struct ipc *s, uint32_t id)
{
	for (unsigned i = 0; i < s->nqueue; i++)
		if (s->queue[i]->rec->id == id)
			return s->queue[i];
	return NULL;
}

static bool is_valid(const Ipc__Queue *r)
{
	return r && r->id && r->name[0] && strlen(r->name) <= NAME_MAX && !strchr(r->name, '/') &&
	       r->max_messages && r->max_messages <= 65536 && r->message_size && r->mode <= 07777 &&
	       r->message_size <= 16 << 20 && r->atime_ns < 1000000000 && r->mtime_ns < 1000000000 &&
	       r->notify_fd <= INT32_MAX && r->signo <= 64;
}

static int damaged(const char *section, struct crcore_error *err)
{
	return crcore_fail(err, -EBADMSG, "a record of section %s makes no sense", section);
}

int queue_load(struct ipc *s, const void *msg, size_t len, struct crcore_error *err)
{
	Ipc__Queue *rec = ipc__queue__unpack(NULL, len, msg);
	struct queue *q = calloc(1, sizeof(*q));
	bool ok = is_valid(rec) && !find(s, rec->id);

	if (!ok || !q || !GROW(s->queue, s->nqueue)) {
		if (rec)
			ipc__queue__free_unpacked(rec, NULL);
		free(q);
		return ok ? crcore_no_memory(err) : damaged("queue", err);
	}
	q->rec = rec;
	q->fd = -1;
	s->queue[s->nqueue++] = q;
	return 0;
}

int queue_load_message(struct ipc *s, const void *msg, size_t len, struct crcore_error *err)
{
	Ipc__QueueMessage *rec = ipc__queue_message__unpack(NULL, len, msg);
	struct queue *q = rec ? find(s, rec->queue) : NULL;
	bool ok = q && rec->prio <= 32767 && rec->text.len <= q->rec->message_size &&
	          q->n < q->rec->max_messages;

	if (!ok || !GROW(q->v, q->n)) {
		if (rec)
			ipc__queue_message__free_unpacked(rec, NULL);
		return ok ? crcore_no_memory(err) : damaged("queue-message", err);
	}
	q->v[q->n++] = rec;
	return 0;
}

int queue_load_open(struct ipc *s, const void *msg, size_t len, struct crcore_error *err)
{
	Ipc__Open *rec = ipc__open__unpack(NULL, len, msg);
	bool ok = rec && rec->object && !(rec->flags & ~(uint32_t)(O_ACCMODE | O_NONBLOCK | LARGEFILE));

	if (!ok || !GROW(s->open, s->nopen)) {
		if (rec)
			ipc__open__free_unpacked(rec, NULL);
		return ok ? crcore_no_memory(err) : damaged("open", err);
	}
	s->open[s->nopen++] = (struct open){ rec, -1 };
	return 0;
}

void queue_forget(struct ipc *s)
{
	for (unsigned i = 0; i < s->nqueue; i++) {
		struct queue *q = s->queue[i];
		for (unsigned k = 0; k < q->n; k++)
			ipc__queue_message__free_unpacked(q->v[k], NULL);
		free(q->v);
		if (q->fd >= 0)
			close(q->fd);
		ipc__queue__free_unpacked(q->rec, NULL);
		free(q);
	}
	for (unsigned i = 0; i < s->nopen; i++) {
		if (s->open[i].fd >= 0)
			close(s->open[i].fd);
		ipc__open__free_unpacked(s->open[i].rec, NULL);
	}
	free(s->queue);
	free(s->open);
}

/* ---- what is in the way ---- */

static int fail(const struct queue *q, int r, const char *what, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "message queue /%s", q->rec->name);
	return crcore_fail(err, r, "%s: %s", what, strerror(-r));
}

static int check_one(struct ipc *s, const struct queue *q, int folder, struct crcore_error *err)
{
	struct stat st;
	pid_t by = 0;

	if (fstatat(folder, q->rec->name, &st, 0) < 0)
		return q->rec->kept ?
		       fail(q, -errno, "it is shared with others, and cannot be found", err) : 0;
	if (q->rec->unlinked || q->rec->kept)
		return 0;
	if (s->existing == EXISTING_REPLACE && !(by = queue_opened_by(s, &st)))
		return 0;
	crcore_advise(err, by ? "end that process" :
	                        "remove it, or set existing: replace for ipc in the policy");
	if (!by)
		return fail(q, -EEXIST, "it is there already", err);
	crcore_fail_at(err, -1, -1, "message queue /%s", q->rec->name);
	return crcore_fail(err, -EEXIST, "it is there already, and process %d uses it", by);
}

int queue_check(struct ipc *s, struct crcore_error *err)
{
	cleanup_close int folder = s->nqueue ? queue_folder(err) : -1;
	int r = 0;

	if (s->nqueue && folder < 0)
		return folder;
	for (unsigned i = 0; r == 0 && i < s->nopen; i++)
		if (!find(s, s->open[i].rec->queue))
			r = damaged("open", err);
	for (unsigned i = 0; r == 0 && i < s->nqueue; i++)
		r = check_one(s, s->queue[i], folder, err);
	return r;
}

/* ---- made ---- */

static const char *with_slash(const char *name, char buf[NAME_MAX + 2])
{
	snprintf(buf, NAME_MAX + 2, "/%s", name);
	return buf;
}

void queue_unmake(struct ipc *s)
{
	char name[NAME_MAX + 2];

	for (unsigned i = 0; i < s->nqueue; i++)
		if (s->queue[i]->made)
			mq_unlink(with_slash(s->queue[i]->made, name));
}

struct opening { const Ipc__Queue *rec; const char *name; int fd; };

static int open_as_owner(void *arg)
{
	struct opening *o = arg;
	struct mq_attr attr = { .mq_maxmsg = (long)o->rec->max_messages,
		                .mq_msgsize = (long)o->rec->message_size };
	char name[NAME_MAX + 2];
	struct rlimit l;

	if (getrlimit(RLIMIT_MSGQUEUE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_MSGQUEUE, &l);
	}
	int r = ipc_become(o->rec->uid, o->rec->gid);
	if (r < 0)
		return r;
	o->fd = mq_open(with_slash(o->name, name), O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK, 0600, &attr);
	return o->fd < 0 ? -errno : 0;
}

static int make(struct ipc *s, struct queue *q, const char *name, struct crcore_error *err)
{
	struct opening *o = mmap(NULL, sizeof(*o), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	                         -1, 0);

	if (o == MAP_FAILED)
		return crcore_no_memory(err);
	*o = (struct opening){ q->rec, name, -1 };
	q->made = name; /* also if it fails half way: nobody else has it */
	int r = s->host->run_as(s->ctx, 0, open_as_owner, o, err);
	q->fd = o->fd;
	munmap(o, sizeof(*o));
	if (q->fd >= 0)
		fcntl(q->fd, F_SETFD, FD_CLOEXEC);
	else
		q->made = NULL;
	if (r < 0 || q->fd < 0)
		return fail(q, r < 0 ? r : -EBADF, "cannot be made", err);
	return fchmod(q->fd, q->rec->mode) < 0 ? fail(q, -errno, "cannot be given its mode", err) : 0;
}

static int raise_limits(struct ipc *s, const Ipc__Queue *rec, struct crcore_error *err)
{
	int r = limit_raise(s, "fs/mqueue/msg_max", rec->max_messages, err);

	if (r == 0)
		r = limit_raise(s, "fs/mqueue/msgsize_max", rec->message_size, err);
	return r;
}

static int fill(struct queue *q, struct crcore_error *err)
{
	for (unsigned i = 0; i < q->n; i++)
		if (mq_send(q->fd, (const char *)q->v[i]->text.data, q->v[i]->text.len, q->v[i]->prio) < 0)
			return fail(q, -errno, "a message cannot be sent", err);
	return 0;
}

/* All descriptions, as long as it has a name: what open(2) makes is not the same. */
static int open_all(struct ipc *s, const struct queue *q, const char *name,
                    struct crcore_error *err)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", q->fd);
	for (unsigned i = 0; i < s->nopen; i++) {
		struct open *o = &s->open[i];
		int flags = (int)o->rec->flags & (O_ACCMODE | O_NONBLOCK);
		if (o->rec->queue != q->rec->id)
			continue;
		o->fd = o->rec->flags & LARGEFILE ? open(path, flags | O_CLOEXEC) :
		                                    mq_open(name, flags | O_CLOEXEC);
		if (o->fd < 0)
			return fail(q, -errno, "cannot be opened", err);
	}
	return 0;
}

static int make_one(struct ipc *s, struct queue *q, struct crcore_error *err)
{
	char name[NAME_MAX + 2];
	int r;

	if (q->rec->kept) {
		q->fd = mq_open(with_slash(q->rec->name, name), O_RDWR | O_CLOEXEC);
		return q->fd < 0 ? fail(q, -errno, "cannot be opened", err) : open_all(s, q, name, err);
	}
	if ((r = raise_limits(s, q->rec, err)) < 0)
		return r;
	snprintf(q->spare, sizeof(q->spare), ".crcore-%d-%u", getpid(), q->rec->id);
	with_slash(q->rec->name, name);
	int there = mq_open(name, O_RDONLY | O_CLOEXEC);
	if (there >= 0)
		close(there);
	if (there >= 0 && !q->rec->unlinked)
		mq_unlink(name); /* check() has said that it is a leftover */
	const char *as = there >= 0 && q->rec->unlinked ? q->spare : q->rec->name;
	if ((r = will_queue(s, with_slash(as, name), err)) < 0 || (r = make(s, q, as, err)) < 0)
		return r;
	r = open_all(s, q, with_slash(q->made, name), err);
	if (r == 0 && q->rec->unlinked) {
		mq_unlink(name);
		q->made = NULL;
	}
	return r < 0 ? r : fill(q, err);
}

/* Those without a name first: for a moment they may have that of another. */
int queue_make(struct ipc *s, struct crcore_error *err)
{
	int r = 0;

	for (int named = 0; named < 2; named++)
		for (unsigned i = 0; r == 0 && i < s->nqueue; i++)
			if (s->queue[i]->rec->unlinked != named)
				r = make_one(s, s->queue[i], err);
	return r;
}

int queue_create(struct ipc *s, uint32_t object, struct crcore_error *err)
{
	for (unsigned i = 0; i < s->nopen; i++)
		if (s->open[i].rec->object == object) {
			int fd = s->open[i].fd;
			s->open[i].fd = -1;
			return fd < 0 ? crcore_fail(err, -EBADMSG, "object %u is made twice", object) : fd;
		}
	return -ENOENT;
}

/* ---- in the tasks, and last ---- */

void queue_emit(struct ipc *s, const struct crcore_task *task, struct crcore_program *p)
{
	for (unsigned i = 0; i < s->nqueue; i++) {
		const Ipc__Queue *rec = s->queue[i]->rec;
		struct sigevent e = { .sigev_notify = (int)rec->notify, .sigev_signo = (int)rec->signo };
		if (rec->notify_pid == (uint32_t)task->pid)
			s->host->call(p, "ipc: be told of messages", SYS_mq_notify,
			              ARGS(IMM(rec->notify_fd), DATA(s->host->data(p, &e, sizeof(e)))),
			              CRCORE_EQUAL, 0);
	}
}

void queue_settle(struct ipc *s)
{
	for (unsigned i = 0; i < s->nqueue; i++) {
		const Ipc__Queue *rec = s->queue[i]->rec;
		const struct timespec times[2] = { { rec->atime_s, rec->atime_ns },
			                           { rec->mtime_s, rec->mtime_ns } };
		if (!rec->kept)
			futimens(s->queue[i]->fd, times);
	}
}
