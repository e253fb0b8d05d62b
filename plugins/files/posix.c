/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POSIX record locks (fcntl F_SETLK). They belong to a task's table of
 * descriptors and a file, not to a description: /proc/locks tells who holds
 * them, the fdinfo of that task by which descriptor, and after a restore the
 * task itself takes them again. So it is with leases (F_SETLEASE): they belong to
 * a description, but tell of what happens by the number of a descriptor.
 */
#include "files.h"

#include <dirent.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include "plugins/args.h"

/* -- dump --------------------------------------------------------------------------- */

static int by_line(const struct lock_line *a, const struct lock_line *b)
{
	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	return (a->start > b->start) - (a->start < b->start);
}

/* All that tells one lock from another, whoever holds it. */
static int by_lock(const struct lock_line *a, const struct lock_line *b)
{
	int r = by_line(a, b);

	if (r || a->dev != b->dev)
		return r ? r : a->dev < b->dev ? -1 : 1;
	if (a->length != b->length)
		return a->length < b->length ? -1 : 1;
	return a->write != b->write ? a->write - b->write : strcmp(a->sort, b->sort);
}

/* What the fdinfo of all descriptors of a task show. */
struct shown { struct lock_line line; int fd; };
struct holder { pid_t pid; struct shown *v; unsigned n; };
struct holders { struct holder *v; unsigned n; };

static int by_line_and_fd(const void *x, const void *y)
{
	const struct shown *a = x, *b = y;
	int r = by_line(&a->line, &b->line);

	return r ? r : (a->fd > b->fd) - (a->fd < b->fd);
}

static int add_shown(struct holder *h, int dir, const char *name)
{
	char text[512];
	int r = 0, fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	FILE *in = fd < 0 ? NULL : fdopen(fd, "r");

	while (in && r == 0 && fgets(text, sizeof(text), in)) {
		struct shown one = { .fd = atoi(name) };
		if (strncmp(text, "lock:\t", 6) || !files_parse_lock(text + 6, &one.line))
			continue;
		if (GROW(h->v, h->n))
			h->v[h->n++] = one;
		else
			r = -ENOMEM;
	}
	if (in)
		fclose(in);
	return r;
}

/* Each is read once: where there are many locks, that takes long. NULL: out of memory. */
static const struct holder *find_holder(struct holders *hs, pid_t pid)
{
	struct holder *h;
	struct dirent *e;
	char path[40];
	int r = 0;
	DIR *d;

	for (unsigned i = 0; i < hs->n; i++)
		if (hs->v[i].pid == pid)
			return &hs->v[i];
	if (!GROW(hs->v, hs->n))
		return NULL;
	h = &hs->v[hs->n++];
	*h = (struct holder){ .pid = pid };
	snprintf(path, sizeof(path), "/proc/%d/fdinfo", pid);
	d = opendir(path);
	while (d && r == 0 && (e = readdir(d)))
		r = e->d_name[0] != '.' ? add_shown(h, dirfd(d), e->d_name) : 0;
	if (d)
		closedir(d);
	if (h->n)
		qsort(h->v, h->n, sizeof(*h->v), by_line_and_fd);
	return r < 0 ? NULL : h;
}

static void free_holders(struct holders *hs)
{
	for (unsigned i = 0; i < hs->n; i++)
		free(hs->v[i].v);
	free(hs->v);
}

/* Is it another number of a description that is in the list? */
static bool is_known(pid_t pid, int fd, const int *known, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (syscall(SYS_kcmp, pid, pid, KCMP_FILE, (long)fd, (long)known[i]) == 0)
			return true;
	return false;
}

/* The first that is not before the lock. */
static unsigned find_shown(const struct holder *h, const struct lock_line *lock)
{
	unsigned a = 0, b = h->n;

	while (a < b) {
		unsigned m = a + (b - a) / 2;
		if (by_line(&h->v[m].line, lock) < 0)
			a = m + 1;
		else
			b = m;
	}
	return a;
}

/* The descriptor by which the lock was taken, -1: it is not open any more. Locks on several
 * files may look alike, where subvolumes have the same inodes: turn says how many of them
 * came before. */
static int find_fd(struct holders *hs, const struct lock_line *lock, unsigned turn,
                   struct crcore_error *err)
{
	cleanup_free int *known = calloc(turn + 1, sizeof(*known));
	const struct holder *h = known ? find_holder(hs, lock->pid) : NULL;
	unsigned n = 0;

	if (!h)
		return crcore_no_memory(err);
	for (unsigned i = find_shown(h, lock); i < h->n && !by_line(&h->v[i].line, lock); i++)
		if (n <= turn && by_lock(&h->v[i].line, lock) == 0 &&
		    !is_known(lock->pid, h->v[i].fd, known, n))
			known[n++] = h->v[i].fd;
	return n > turn ? known[turn] : -1;
}

/* What a lease was before somebody wanted it to become less: only its target shows. Who
 * can only read has no more than a read lease to give up altogether. */
static bool was_write(const struct lock_line *line, int fd)
{
	char path[64], text[512];
	unsigned flags = O_RDWR;
	FILE *in;

	if (!line->breaking || line->write)
		return line->write;
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", line->pid, fd);
	in = fopen(path, "re");
	while (in && fgets(text, sizeof(text), in))
		sscanf(text, "flags: %o", &flags);
	if (in)
		fclose(in);
	return line->read || (flags & O_ACCMODE) != O_RDONLY;
}

static int put_lock(struct files *f, const struct lock_line *line, int fd, struct crcore_error *err)
{
	Files__TaskLock rec = FILES__TASK_LOCK__INIT;
	char path[64], link[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", line->pid, fd);
	n = readlink(path, link, sizeof(link) - 1);
	link[n < 0 ? 0 : n] = '\0';
	rec.pid = (uint32_t)line->pid;
	rec.fd = (uint32_t)fd;
	rec.lease = !strcmp(line->sort, "LEASE");
	rec.write = rec.lease ? was_write(line, fd) : line->write;
	rec.start = line->start;
	rec.length = line->length;
	rec.ino = line->ino;
	rec.path = link;
	return record_put(f->host, f->ctx, "lock", &rec.base, err);
}

struct lines { struct lock_line *v; unsigned n; };

static int by_holder(const void *x, const void *y)
{
	const struct lock_line *a = x, *b = y;

	return a->pid != b->pid ? (a->pid > b->pid) - (a->pid < b->pid) : by_lock(a, b);
}

static void sort(struct lines *l)
{
	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), by_holder);
}

static int add_line(struct lines *l, const struct lock_line *line, struct crcore_error *err)
{
	if (!GROW(l->v, l->n))
		return crcore_no_memory(err);
	l->v[l->n++] = *line;
	return 0;
}

/* The locks of tasks of the tree that a text of /proc/locks shows, sorted. */
static int read_lines(const struct files *f, const char *text, struct lines *ret,
                      struct crcore_error *err)
{
	struct lock_line line;
	int r = 0;

	for (const char *p = text; r == 0 && *p; p = strchrnul(p, '\n'), p += *p == '\n')
		if (files_parse_lock(p, &line) &&
		    (!strcmp(line.sort, "POSIX") || !strcmp(line.sort, "LEASE")) &&
		    files_in_tree(f, line.pid))
			r = add_line(ret, &line, err);
	sort(ret);
	return r;
}

/* turn: how many that look like it came before. Returns 1 if it is in the image now. */
static int save_lock(struct files *f, const struct lock_line *line, unsigned turn,
                     struct holders *hs, struct crcore_error *err)
{
	int fd = find_fd(hs, line, turn, err), r;

	if (fd == -ENOMEM)
		return fd;
	if (fd < 0 && turn)
		return 0; /* shown twice, because the list grew meanwhile */
	if (fd < 0) {
		crcore_fail_at(err, line->pid, -1, "inode %llu", (unsigned long long)line->ino);
		crcore_advise(err, "dump when the lock is not held");
		return crcore_fail(err, -ENOTSUP, "it holds a POSIX record lock, or a lease, by a "
		                   "descriptor that is closed");
	}
	r = put_lock(f, line, fd, err);
	return r < 0 ? r : 1;
}

/* What one reading of /proc/locks has shown, and those before it had not. Both are sorted. */
static int save_new(struct files *f, const struct lines *seen, struct lines *saved,
                    struct holders *hs, struct crcore_error *err)
{
	const unsigned before = saved->n;
	unsigned turn = 0;
	int r = 0;

	for (unsigned i = 0, have = 0; r >= 0 && i < seen->n; i++) {
		const struct lock_line *line = &seen->v[i];
		turn = i && by_holder(line - 1, line) == 0 ? turn + 1 : 0;
		while (have < before && by_holder(&saved->v[have], line) < 0)
			have++;
		if (have < before && by_holder(&saved->v[have], line) == 0) {
			have++;
			continue;
		}
		r = save_lock(f, line, turn, hs, err);
		if (r > 0)
			r = add_line(saved, line, err);
	}
	sort(saved);
	return r;
}

#define PASSES 8

/* The kernel gives a page of lines at a time, by their numbers in a list that changes: what
 * was given at once is right, else it is read until nothing new shows. */
int files_save(void *state, struct crcore_error *err)
{
	struct files *f = state;
	struct lines saved = { 0 };
	struct holders holders = { 0 };
	int r = 0;

	/* To read it makes the kernel wait for all processors, 10 ms and more. */
	for (int i = 0; r == 0 && f->locked && i < PASSES; i++) {
		unsigned before = saved.n, reads;
		cleanup_free char *text = NULL;
		struct lines seen = { 0 };
		r = read_counted(AT_FDCWD, "/proc/locks", &text, &reads);
		r = r < 0 ? crcore_fail(err, r, "cannot read /proc/locks: %s", strerror(-r)) :
		    read_lines(f, text, &seen, err);
		if (r == 0)
			r = save_new(f, &seen, &saved, &holders, err);
		free(seen.v);
		if (reads <= 1 || (i && saved.n == before))
			break;
	}
	free(saved.v);
	free_holders(&holders);
	return r;
}

/* -- restore ------------------------------------------------------------------------- */

int posix_load(struct files *f, const void *msg, size_t len, struct crcore_error *err)
{
	Files__TaskLock *rec = files__task_lock__unpack(NULL, len, msg);

	if (!rec)
		return crcore_fail(err, -EBADMSG, "a record of section lock is damaged");
	if (!GROW(f->posix, f->nposix)) {
		files__task_lock__free_unpacked(rec, NULL);
		return crcore_no_memory(err);
	}
	f->posix[f->nposix++] = rec;
	if (rec->start > INT64_MAX || rec->length > INT64_MAX - rec->start || rec->fd > INT32_MAX)
		return crcore_fail(err, -EBADMSG, "a record of section lock makes no sense");
	return 0;
}

/* The inode of a deleted file may belong to another one by now. */
static bool is_deleted(const Files__TaskLock *rec)
{
	struct stat st;

	return lstat(rec->path, &st) < 0 || st.st_ino != rec->ino;
}

int posix_check(const struct files *f, const struct lock_line *line, struct crcore_error *err)
{
	for (unsigned i = 0; i < f->nposix && strcmp(line->sort, "FLOCK") != 0; i++) {
		const Files__TaskLock *rec = f->posix[i];
		if (line->ino == rec->ino && (line->write || rec->write) &&
		    rec->lease == !strcmp(line->sort, "LEASE") &&
		    files_overlap(line, rec->start, rec->length) && !is_deleted(rec) &&
		    files_is_on(rec->path, line->dev))
			return files_lock_taken(line, rec->path, err);
	}
	return 0;
}

void posix_emit(const struct files *f, pid_t pid, struct crcore_program *p)
{
	for (unsigned i = 0; i < f->nposix; i++) {
		const Files__TaskLock *rec = f->posix[i];
		const struct flock lock = { .l_type = rec->write ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET,
			.l_start = (off_t)rec->start, .l_len = (off_t)rec->length };
		if (rec->pid != (uint32_t)pid)
			continue;
		if (rec->lease)
			f->host->call(p, "files: lease", SYS_fcntl, ARGS(IMM(rec->fd), IMM(F_SETLEASE),
			             IMM(rec->write ? F_WRLCK : F_RDLCK)), CRCORE_EQUAL, 0);
		else
			f->host->call(p, "files: record lock", SYS_fcntl, ARGS(IMM(rec->fd), IMM(F_SETLK),
			             DATA(f->host->data(p, &lock, sizeof(lock)))), CRCORE_EQUAL, 0);
	}
}
