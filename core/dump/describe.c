/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be seen of one descriptor of a task: what it leads to, how, and by which name.
 * There may be 100,000 of them, and each path below /proc costs several microseconds, so
 * nothing is asked for there that can be told from a duplicate of the descriptor.
 */
#include <fcntl.h>
#include <sys/syscall.h>
#include "core/dump/descriptors.h"
#include "core/util/util.h"

static void open_folders(struct reader *r, const struct task *t)
{
	if (r->task == t)
		return;
	if (r->task) {
		close(r->fd);
		close(r->info);
	}
	r->task = t;
	r->fd = t ? openat(t->proc, "fd", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	r->info = t ? openat(t->proc, "fdinfo", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	r->error = r->fd < 0 || r->info < 0 ? -errno : 0;
}

void reader_end(struct reader *r)
{
	open_folders(r, NULL);
}

/* ---- fdinfo ----------------------------------------------------------------------- */

static void parse_fdinfo(struct descriptor *d)
{
	const char *pos = proc_field(d->fdinfo, "pos"), *flags = proc_field(d->fdinfo, "flags");
	const char *mnt = proc_field(d->fdinfo, "mnt_id");

	d->pos = pos ? strtoll(pos, NULL, 10) : 0;
	d->flags = flags ? (uint32_t)strtoul(flags, NULL, 8) : 0;
	d->locked = strstr(d->fdinfo, "\nlock:");
	d->mnt_id = mnt ? (uint32_t)strtoul(mnt, NULL, 10) : 0;
}

/* What fits comes at once: then the end need not be asked for. */
static int read_fdinfo(struct descriptor *d, const struct reader *r, const char *name)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	char buf[1024];
	cleanup_close int fd = openat(r->info, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));

	if (n <= 0 || n == (ssize_t)sizeof(buf))
		return proc_read(r->info, name, &d->fdinfo, NULL, &ignored);
	d->fdinfo = strndup(buf, (size_t)n);
	return d->fdinfo ? 0 : -ENOMEM;
}

/* Half of the time goes into fdinfo. Of these sorts it has nothing that the duplicate does not
 * tell, but for close-on-exec, locks, which hardly anybody takes on one, and what plugins know it
 * by that something is in flight: all that is for a look that is not quick. */
static bool is_told(const struct descriptor *d)
{
	return S_ISFIFO(d->st.st_mode) || S_ISSOCK(d->st.st_mode);
}

static int tell_fdinfo(struct descriptor *d)
{
	struct statx stx;
	int flags = fcntl(d->local, F_GETFL);

	if (flags < 0 ||
	    statx(d->local, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) < 0)
		return -errno;
	if (asprintf(&d->fdinfo, "pos:\t0\nflags:\t0%o\nmnt_id:\t%llu\n", (unsigned)flags,
	             (unsigned long long)stx.stx_mnt_id) < 0)
		return -ENOMEM;
	return 0;
}

/* ---- links ------------------------------------------------------------------------ */

/* File systems that the kernel has for itself call what is on them "word:[inode]", with one
 * word for all of them; but those whose files pass for regular ones have several. */
static const struct word *find_word(const struct reader *r, const struct descriptor *d)
{
	for (unsigned i = 0; i < r->nwords && !S_ISREG(d->st.st_mode); i++)
		if (r->words[i].dev == d->st.st_dev)
			return &r->words[i];
	return NULL;
}

static void learn_word(struct reader *r, const struct descriptor *d)
{
	size_t n = strcspn(d->link, "/:");
	char rest[32];

	snprintf(rest, sizeof(rest), ":[%llu]", (unsigned long long)d->st.st_ino);
	if (r->nwords == WORDS || S_ISREG(d->st.st_mode) || n >= sizeof(r->words->text) ||
	    strcmp(d->link + n, rest) != 0)
		return;
	r->words[r->nwords].dev = d->st.st_dev;
	memcpy(r->words[r->nwords++].text, d->link, n);
}

static int read_link(struct descriptor *d, struct reader *r, const char *name)
{
	const struct word *word = find_word(r, d);
	char link[4096];
	ssize_t n;

	if (word)
		n = snprintf(link, sizeof(link), "%s:[%llu]", word->text,
		             (unsigned long long)d->st.st_ino);
	else
		n = readlinkat(r->fd, name, link, sizeof(link) - 1);
	d->link = strndup(link, n < 0 ? 0 : (size_t)n);
	if (d->link && !word)
		learn_word(r, d);
	return d->link ? 0 : -ENOMEM;
}

/* ---- all of it -------------------------------------------------------------------- */

static int fetch(struct descriptor *d)
{
	d->local = (int)syscall(SYS_pidfd_getfd, d->task->pidfd, d->fd, 0);
	return d->local < 0 || fstat(d->local, &d->st) < 0 ? -errno : 0;
}

int descriptor_read(struct descriptor *d, struct reader *reader)
{
	char name[16];
	int r;

	open_folders(reader, d->task);
	if (reader->error)
		return reader->error;
	snprintf(name, sizeof(name), "%d", d->fd);
	if ((r = fetch(d)) == 0 && (r = read_link(d, reader, name)) == 0)
		r = reader->quick && is_told(d) ? tell_fdinfo(d) :
		    read_fdinfo(d, reader, name);
	if (r < 0)
		return r == -EBADF || r == -ENOENT ? 0 : r;
	parse_fdinfo(d);
	return 1;
}

/* Whether it is closed on exec, and locks, which belong to a descriptor table: what costs most to
 * see and matters least, so not at the first look. */
int descriptor_read_own(struct descriptor *d, struct reader *reader)
{
	char name[16];
	int r = 0;

	if (reader->quick)
		return 1;
	open_folders(reader, d->task);
	snprintf(name, sizeof(name), "%d", d->fd);
	if ((r = reader->error) == 0 && (r = read_fdinfo(d, reader, name)) == 0)
		parse_fdinfo(d);
	return r == 0 ? 1 : r == -EBADF || r == -ENOENT ? 0 : r;
}
