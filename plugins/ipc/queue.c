/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: POSIX message queues. Nothing tells what waits in one without taking it
 * away, so all messages are received and sent again, which keeps their order. A
 * process that asked to be told of the next message in an empty queue would be
 * told of ours: so a queue with such a request is never empty meanwhile. The
 * last message is received past a stand-in of the same priority, which is found
 * by trying from above: the higher ones come back first, themselves.
 */
#include "ipc.h"

#include <dirent.h>
#include <mqueue.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#ifndef MQUEUE_MAGIC
#define MQUEUE_MAGIC 0x19800202
#endif
#ifndef FSCONFIG_CMD_CREATE
#define FSCONFIG_CMD_CREATE 6
#endif
#define PRIO_TOP 32767

/* ---- which queue ---- */

static int cannot_list(int code, struct crcore_error *err)
{
	if (code == -EPERM)
		crcore_advise(err, "run crcore as root, or give it CAP_SYS_ADMIN");
	return crcore_fail(err, code, "message queues cannot be listed: %s", strerror(-code));
}

/* The queues of our namespace, as a directory that is mounted nowhere. */
int queue_folder(struct crcore_error *err)
{
	cleanup_close int fs = (int)syscall(SYS_fsopen, "mqueue", 1 /* FSOPEN_CLOEXEC */);

	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return cannot_list(-errno, err);
	cleanup_close int mnt = (int)syscall(SYS_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */, 0);
	int fd = mnt < 0 ? -1 : openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? cannot_list(-errno, err) : fd;
}

bool queue_is(const struct crcore_object *obj)
{
	struct statfs fs;

	return obj->class_ == CRCORE_DESCRIPTION && S_ISREG(obj->st.st_mode) &&
	       !(obj->flags & O_PATH) && obj->local_fd >= 0 && fstatfs(obj->local_fd, &fs) == 0 &&
	       fs.f_type == MQUEUE_MAGIC;
}

int queue_claim(struct ipc *s, const struct crcore_object *obj, struct crcore_error *err)
{
	cleanup_close int folder = queue_folder(err);
	struct stat st;

	if (folder < 0 || fstat(folder, &st) < 0)
		return folder < 0 ? folder : cannot_list(-errno, err);
	if (st.st_dev != obj->st.st_dev) {
		crcore_advise(err, "run crcore in the IPC namespace of the queue, or close it");
		return crcore_fail(err, -ENOTSUP, "it is a message queue of another IPC namespace");
	}
	return CRCORE_CLAIM_EXACT;
}

/* A number that leads to the file, or -1. */
static int find_fd(pid_t pid, const struct stat *st)
{
	char path[40];
	struct stat there;
	struct dirent *e;
	int found = -1;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *d = opendir(path);
	while (d && found < 0 && (e = readdir(d)))
		if (fstatat(dirfd(d), e->d_name, &there, 0) == 0 && there.st_ino == st->st_ino &&
		    there.st_dev == st->st_dev)
			found = atoi(e->d_name);
	if (d)
		closedir(d);
	return found;
}

static bool has_open(void *arg, pid_t pid)
{
	return find_fd(pid, arg) >= 0;
}

pid_t queue_opened_by(const struct ipc *s, const struct stat *st)
{
	return scope_each_outside(s, has_open, (void *)(uintptr_t)st);
}

int queue_review(struct ipc *s, const struct crcore_object *obj, struct crcore_error *err)
{
	pid_t by = s->shared == SHARED_KEEP || scope_all(s) ? 0 : queue_opened_by(s, &obj->st);

	if (!by)
		return 0;
	crcore_advise(err, "dump a tree that contains process %d, or set shared: keep for ipc in the "
	              "policy: it is then used as it is when the tree is restored", by);
	return crcore_fail(err, -EBUSY, "process %d, which is not in the tree, has it open too", by);
}

/* ---- messages ---- */

struct message { unsigned prio; size_t len; char *text; };

struct drained { /* what is not in the queue now */
	int fd;
	size_t size;       /* of a message, at most */
	struct message *v;
	unsigned n, out;   /* the first `out` are to be sent again */
	bool stand_in;     /* one is there in their place, of the last one's priority */
	struct stat st;
};

static int receive(struct drained *d, size_t size, struct message *ret)
{
	*ret = (struct message){ .text = malloc(size) };
	if (!ret->text)
		return -ENOMEM;
	ssize_t n = mq_receive(d->fd, ret->text, size, &ret->prio);
	if (n < 0) {
		int r = -errno;
		free(ret->text);
		return r;
	}
	ret->len = (size_t)n;
	return 0;
}

static void send_again(const struct drained *d, const struct message *m)
{
	mq_send(d->fd, m->text, m->len, m->prio);
}

/* Undo entry, and the ordinary way back: everything in its order again. The stand-in
 * is received as soon as there are others, and nothing of a higher priority. */
static void refill(void *arg)
{
	struct drained *d = arg;
	struct timespec times[2] = { d->st.st_atim, d->st.st_mtim };
	unsigned lowest = d->stand_in ? d->v[d->n - 1].prio : 0;
	struct message gone;

	for (unsigned i = 0; d->stand_in && i < d->out; i++)
		if (d->v[i].prio == lowest)
			send_again(d, &d->v[i]);
	if (d->stand_in && receive(d, d->size, &gone) == 0)
		free(gone.text);
	for (unsigned i = 0; i < d->out; i++)
		if (!d->stand_in || d->v[i].prio != lowest)
			send_again(d, &d->v[i]);
	if (d->out)
		futimens(d->fd, times);
	d->stand_in = false;
	d->out = 0;
}

/* QSIZE, NOTIFY, SIGNO, NOTIFY_PID of mq_overview(7) */
struct status { unsigned long bytes; int notify, signo, pid; };

static bool read_status(int fd, struct status *ret)
{
	char text[128];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return sscanf(text, "QSIZE:%lu NOTIFY:%d SIGNO:%d NOTIFY_PID:%d", &ret->bytes, &ret->notify,
	              &ret->signo, &ret->pid) == 4;
}

/* The only message that is left, without the queue ever being empty. */
static int receive_last(struct drained *d, size_t size, unsigned prio, struct message *ret)
{
	struct status st;

	if (!read_status(d->fd, &st))
		return -EIO;
	size_t len = st.bytes ? 0 : 1; /* of the stand-in: another than the message's */
	for (;; prio--) {
		if (mq_send(d->fd, "", len, prio) < 0)
			return -errno;
		int r = receive(d, size, ret);
		if (r < 0 || ret->len == st.bytes || !prio)
			return r;
		free(ret->text);
	}
}

static int drain(struct drained *d, const struct mq_attr *attr, bool watched)
{
	size_t size = d->size = (size_t)attr->mq_msgsize;
	unsigned keep = watched && attr->mq_curmsgs ? 1 : 0;
	int r = 0;

	d->v = calloc((size_t)attr->mq_curmsgs + 1, sizeof(*d->v));
	if (!d->v)
		return -ENOMEM;
	while (r == 0 && d->n + keep < (unsigned)attr->mq_curmsgs)
		if ((r = receive(d, size, &d->v[d->n])) == 0)
			d->out = ++d->n;
	if (r < 0 || !keep)
		return r;
	struct message *last = &d->v[d->n];
	r = receive_last(d, size, d->n ? d->v[d->n - 1].prio : PRIO_TOP, last);
	if (r < 0)
		return r;
	d->out = ++d->n;
	d->stand_in = true;
	return 0;
}

static int put_messages(struct ipc *s, uint32_t queue, const struct drained *d,
                        struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < d->n; i++) {
		Ipc__QueueMessage m = IPC__QUEUE_MESSAGE__INIT;
		m.queue = queue;
		m.prio = d->v[i].prio;
		m.text.data = (uint8_t *)d->v[i].text;
		m.text.len = d->v[i].len;
		r = record_put(s->host, s->ctx, "queue-message", &m.base, err);
	}
	return r;
}

static int save_messages(struct ipc *s, uint32_t queue, int fd, const struct mq_attr *attr,
                         bool watched, struct crcore_error *err)
{
	struct drained *d = calloc(1, sizeof(*d));

	if (!d || !GROW(s->drained, s->ndrained)) {
		free(d);
		return crcore_no_memory(err);
	}
	s->drained[s->ndrained++] = d; /* until close: the undo entry knows it */
	d->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	int r = d->fd < 0 || fstat(fd, &d->st) < 0 ? -errno : 0;
	if (r == 0 && (r = s->host->undo(s->ctx, refill, d, false, err)) < 0)
		return r;
	if (r == 0)
		r = drain(d, attr, watched);
	refill(d);
	if (r < 0)
		return crcore_fail(err, r, "its messages cannot be read: %s", strerror(-r));
	return put_messages(s, queue, d, err);
}

void queue_free(struct ipc *s)
{
	for (unsigned i = 0; i < s->ndrained; i++) {
		struct drained *d = s->drained[i];
		for (unsigned k = 0; d->v && k < d->n; k++)
			free(d->v[k].text);
		free(d->v);
		if (d->fd >= 0)
			close(d->fd);
		free(d);
	}
	free(s->drained);
	free(s->saved);
	queue_forget(s);
}

/* ---- records ---- */

static int fill_notify(struct ipc *s, int fd, const struct stat *st, Ipc__Queue *rec,
                       struct crcore_error *err)
{
	struct status status;

	if (!read_status(fd, &status))
		return crcore_fail(err, -EIO, "its state cannot be read");
	if (!status.pid)
		return 0;
	if (status.notify != SIGEV_NONE && (status.notify != SIGEV_SIGNAL || !s->notify_zero)) {
		bool signal = status.notify == SIGEV_SIGNAL;
		crcore_advise(err, signal ?
		              "set notify: zero for ipc in the policy if the program does not use the "
		              "value" : "switch it off with mq_notify(queue, NULL) before the dump");
		return crcore_fail(err, -ENOTSUP, signal ?
		                   "process %d is to be told of a message by a signal, and the value that "
		                   "comes with it is not known" :
		                   "process %d is to be told of a message by a thread", status.pid);
	}
	rec->notify_pid = (uint32_t)status.pid;
	rec->notify = (uint32_t)status.notify;
	rec->signo = (uint32_t)status.signo;
	int number = find_fd(status.pid, st);
	if (number < 0 || !ipc_task(s, status.pid)) {
		crcore_advise(err, "dump a tree that contains process %d", status.pid);
		return crcore_fail(err, -ENOTSUP, "process %d is to be told of a message, which cannot be "
		                   "kept", status.pid);
	}
	rec->notify_fd = (uint32_t)number;
	return 0;
}

/* name: without the slash. Saved once; *ret gets its number. */
static int save_queue(struct ipc *s, int fd, const char *name, bool unlinked, uint32_t *ret,
                      struct crcore_error *err)
{
	Ipc__Queue rec = IPC__QUEUE__INIT;
	struct mq_attr attr;
	struct stat st;

	if (fstat(fd, &st) < 0 || mq_getattr(fd, &attr) < 0)
		return crcore_fail(err, -errno, "cannot look at it: %s", strerror(errno));
	for (unsigned i = 0; i < s->nsaved; i++)
		if (s->saved[i] == st.st_ino) {
			*ret = i + 1;
			return 0;
		}
	if (!GROW(s->saved, s->nsaved))
		return crcore_no_memory(err);
	s->saved[s->nsaved++] = st.st_ino;
	*ret = rec.id = s->nsaved;
	rec.name = (char *)(uintptr_t)name;
	rec.unlinked = unlinked;
	rec.max_messages = (uint64_t)attr.mq_maxmsg;
	rec.message_size = (uint64_t)attr.mq_msgsize;
	rec.mode = st.st_mode & 07777;
	rec.uid = st.st_uid;
	rec.gid = st.st_gid;
	rec.atime_s = st.st_atim.tv_sec;
	rec.atime_ns = (uint32_t)st.st_atim.tv_nsec;
	rec.mtime_s = st.st_mtim.tv_sec;
	rec.mtime_ns = (uint32_t)st.st_mtim.tv_nsec;
	rec.kept = s->shared == SHARED_KEEP && !scope_all(s) && queue_opened_by(s, &st);
	int r = rec.kept ? 0 : fill_notify(s, fd, &st, &rec, err);
	if (r == 0)
		r = record_put(s->host, s->ctx, "queue", &rec.base, err);
	return r < 0 || rec.kept ? r : save_messages(s, rec.id, fd, &attr, rec.notify_pid, err);
}

int queue_save_object(struct ipc *s, const struct crcore_object *obj, struct crcore_error *err)
{
	static const char deleted[] = " (deleted)";
	Ipc__Open rec = IPC__OPEN__INIT;
	char path[40], name[NAME_MAX + 16];
	const char *slash = strrchr(obj->link, '/');
	bool unlinked = obj->st.st_nlink == 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", obj->local_fd);
	cleanup_close int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return crcore_fail(err, -errno, "cannot open it again: %s", strerror(errno));
	snprintf(name, sizeof(name), "%s", slash ? slash + 1 : obj->link);
	size_t len = strlen(name), cut = sizeof(deleted) - 1;
	if (unlinked && len > cut && !strcmp(name + len - cut, deleted))
		name[len - cut] = '\0';
	rec.object = obj->id;
	rec.flags = obj->flags & (O_ACCMODE | O_NONBLOCK | LARGEFILE);
	int r = save_queue(s, fd, name, unlinked, &rec.queue, err);
	return r < 0 ? r : record_put(s->host, s->ctx, "open", &rec.base, err);
}

/* Those that nobody has open, in a namespace of the tree's own. */
int queue_save(struct ipc *s, struct crcore_error *err)
{
	int folder = scope_all(s) ? queue_folder(err) : -1, r = 0;
	DIR *d = folder < 0 ? NULL : fdopendir(folder);
	struct dirent *e;
	uint32_t id;

	if (folder == -ENODEV) { /* a kernel without, so without any */
		*err = (struct crcore_error)CRCORE_ERROR_INIT;
		return 0;
	}
	if (folder < 0)
		return scope_all(s) ? folder : 0;
	while (d && r == 0 && (e = readdir(d))) {
		if (e->d_name[0] == '.' && (!e->d_name[1] || (e->d_name[1] == '.' && !e->d_name[2])))
			continue;
		cleanup_close int fd = openat(folder, e->d_name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		r = fd < 0 ? crcore_fail(err, -errno, "cannot be opened: %s", strerror(errno)) :
		             save_queue(s, fd, e->d_name, false, &id, err);
		if (r < 0)
			crcore_fail_at(err, -1, -1, "message queue /%s", e->d_name);
	}
	if (d)
		closedir(d);
	return r;
}
