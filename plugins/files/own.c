/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files below /proc of a task of the tree. They can be opened only once the task
 * exists, which is after descriptions are handed out. So the coordinator makes a
 * stand-in, and a task that has it opens the file and puts it in its place. If
 * others have it too they take it from that one: the stand-in is a semaphore, by
 * which they wait for it.
 */
#include "files.h"

#include <ctype.h>
#include <dirent.h>
#include <linux/kcmp.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include "plugins/args.h"

/* -- dump --------------------------------------------------------------------------------- */

static bool is_same(const struct crcore_object *obj, pid_t pid, int dir, const char *name)
{
	char link[PATH_MAX];
	ssize_t n = readlinkat(dir, name, link, sizeof(link) - 1);

	link[n < 0 ? 0 : n] = '\0';
	return !strcmp(link, obj->link) &&
	       syscall(SYS_kcmp, obj->pid, pid, KCMP_FILE, (long)obj->fd, (long)atoi(name)) == 0;
}

static bool is_cloexec(pid_t pid, const char *fd)
{
	char path[300], text[256];
	unsigned flags = 0;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)pid, fd);
	in = fopen(path, "re");
	while (in && fgets(text, sizeof(text), in))
		sscanf(text, "flags: %o", &flags);
	if (in)
		fclose(in);
	return flags & O_CLOEXEC;
}

static int add_place(Files__File *rec, pid_t pid, const char *fd)
{
	Files__Place *p = malloc(sizeof(*p));
	Files__Place **more = realloc(rec->places, (rec->n_places + 1) * sizeof(*more));

	if (more)
		rec->places = more;
	if (!p || !more) {
		free(p);
		return -ENOMEM;
	}
	files__place__init(p);
	p->pid = (uint32_t)pid;
	p->fd = (uint32_t)atoi(fd);
	p->cloexec = is_cloexec(pid, fd);
	rec->places[rec->n_places++] = p;
	return 0;
}

/* Does an earlier task have the same table? Then all its descriptors are known. */
static bool is_known_table(const struct files *f, const struct crcore_task *task)
{
	const struct crcore_task *t;

	for (uint32_t i = 0; i < task->index && (t = f->host->task(f->ctx, i)); i++)
		if (t->state != CRCORE_TASK_ZOMBIE &&
		    syscall(SYS_kcmp, t->pid, task->pid, KCMP_FILES, 0L, 0L) == 0)
			return true;
	return false;
}

int own_save(struct files *f, const struct crcore_object *obj, Files__File *rec,
             struct crcore_error *err)
{
	const struct crcore_task *task;
	struct dirent *e;
	char path[40];
	int r = 0;

	for (uint32_t i = 0; r == 0 && obj->holders > 1 && (task = f->host->task(f->ctx, i)); i++) {
		if (task->state == CRCORE_TASK_ZOMBIE || is_known_table(f, task))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd", (int)task->pid);
		DIR *d = opendir(path);
		while (d && r == 0 && (e = readdir(d)))
			if (isdigit((unsigned char)e->d_name[0]) &&
			    is_same(obj, task->pid, dirfd(d), e->d_name))
				r = add_place(rec, task->pid, e->d_name);
		if (d)
			closedir(d);
	}
	if (r == 0 && obj->holders > 1 && rec->n_places != obj->holders)
		return crcore_fail(err, -EIO, "%u descriptors of it were found, not %u",
		                   (unsigned)rec->n_places, obj->holders);
	return r < 0 ? crcore_fail(err, r, "out of memory") : 0;
}

void own_clear(Files__File *rec)
{
	for (size_t i = 0; i < rec->n_places; i++)
		free(rec->places[i]);
	free(rec->places);
}

/* -- restore -------------------------------------------------------------------------------- */

int own_check(const Files__File *rec, struct crcore_error *err)
{
	bool good = rec->fd < INT32_MAX;

	for (size_t i = 0; i < rec->n_places; i++)
		good &= rec->places[i]->fd < INT32_MAX;
	return good ? 0 : crcore_fail(err, -EBADMSG, "its record makes no sense");
}

int own_create(struct crcore_error *err)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);

	return fd < 0 ?
	       crcore_fail(err, -errno, "cannot make what stands in for it: %s", strerror(errno)) : fd;
}

#define CALL(label, nr, ...) \
	host->call(p, label, nr, ARGS(__VA_ARGS__), CRCORE_OK, 0)

static uint32_t open_it(const struct crcore_host *host, const Files__File *rec,
                        struct crcore_program *p)
{
	uint32_t path = host->data(p, rec->path, strlen(rec->path) + 1);
	uint32_t fd = CALL("files: open own file", SYS_openat, IMM(AT_FDCWD), DATA(path),
	                   IMM((rec->flags & ~(uint32_t)TMPFILE_BIT) | O_CLOEXEC | O_NOCTTY));

	if (rec->pos && !(rec->flags & O_PATH))
		host->call(p, "files: seek own file", SYS_lseek, ARGS(RESULT(fd), IMM(rec->pos),
		           IMM(SEEK_SET)), CRCORE_ANY, 0);
	return fd;
}

static void place(const struct crcore_host *host, const Files__File *rec, uint32_t fd, pid_t pid,
                  struct crcore_program *p)
{
	for (size_t i = 0; i < rec->n_places; i++)
		if (rec->places[i]->pid == (uint32_t)pid)
			CALL("files: place own file", SYS_dup3, RESULT(fd), IMM(rec->places[i]->fd),
			     IMM(rec->places[i]->cloexec ? O_CLOEXEC : 0));
	if (!rec->n_places)
		CALL("files: place own file", SYS_dup3, RESULT(fd), IMM(rec->fd),
		     IMM(rec->cloexec ? O_CLOEXEC : 0));
	CALL("files: close own file", SYS_close, RESULT(fd));
}

/* The one that opens it: places it, then lets the n others take it. */
static void emit_first(const struct crcore_host *host, const Files__File *rec, uint64_t n,
                       struct crcore_program *p)
{
	const Files__Place *first = rec->n_places ? rec->places[0] : NULL;
	uint32_t fd = open_it(host, rec, p), gate = 0;

	if (n)
		gate = CALL("files: keep semaphore", SYS_fcntl, IMM(first->fd), IMM(F_DUPFD_CLOEXEC),
		            IMM(0));
	place(host, rec, fd, (pid_t)rec->pid, p);
	if (!n)
		return;
	CALL("files: let others take own file", SYS_write, RESULT(gate),
	     DATA(host->data(p, &n, sizeof(n))), IMM(sizeof(n)));
	CALL("files: close semaphore", SYS_close, RESULT(gate));
}

static void emit_other(const struct crcore_host *host, const Files__File *rec,
                       const Files__Place *mine, struct crcore_program *p)
{
	const Files__Place *first = rec->places[0];
	uint32_t pidfd, fd;

	CALL("files: wait for own file", SYS_read, IMM(mine->fd),
	     DATA(host->data(p, NULL, 8)), IMM(8));
	pidfd = CALL("files: reach who has own file", SYS_pidfd_open, IMM(first->pid), IMM(0));
	fd = CALL("files: take own file", SYS_pidfd_getfd, RESULT(pidfd), IMM(first->fd), IMM(0));
	CALL("files: close pidfd", SYS_close, RESULT(pidfd));
	place(host, rec, fd, (pid_t)mine->pid, p);
}

/* Of itself a task can open anything at once; of others only when all are there. */
static uint32_t own_phase(const Files__File *rec)
{
	char self[32];
	size_t len = (size_t)snprintf(self, sizeof(self), "/proc/%u/", rec->pid);

	return !rec->n_places && !strncmp(rec->path, self, len) &&
	       strncmp(rec->path + len, "task/", 5) != 0 ? CRCORE_PHASE_FILES : CRCORE_PHASE_LATE;
}

void own_emit(const struct files *f, const Files__File *rec, pid_t pid, uint32_t phase,
              struct crcore_program *p)
{
	uint64_t others = 0;

	if (own_phase(rec) != phase)
		return;
	for (size_t i = 1; i < rec->n_places; i++) /* those of one task follow each other */
		others += rec->places[i]->pid != rec->places[i - 1]->pid;
	if (rec->n_places ? rec->places[0]->pid == (uint32_t)pid : rec->pid == (uint32_t)pid) {
		emit_first(f->host, rec, others, p);
		return;
	}
	for (size_t i = 0; i < rec->n_places; i++)
		if (rec->places[i]->pid == (uint32_t)pid) {
			emit_other(f->host, rec, rec->places[i], p);
			return;
		}
}
