/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: names. A socket that was bound to a path left a file there, which is
 * usually still there, and leads to nobody; it is moved aside and goes when
 * the restore has succeeded, or comes back if not. A file that leads to a
 * living socket is never touched.
 */
#include "sockets.h"

#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include "plugins/wills.h"

socklen_t name_address(const char *at, size_t len, struct sockaddr_un *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	if (len > sizeof(ret->sun_path))
		len = sizeof(ret->sun_path);
	memcpy(ret->sun_path, at, len);
	if (len && at[0] && len < sizeof(ret->sun_path))
		len++; /* the end of the path */
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

static bool has_path(const struct made *m)
{
	return m->rec->name.len && m->rec->name.data[0];
}

static const char *text(const struct made *m, char ret[2 * sizeof(struct name)])
{
	struct name n = { .len = (uint8_t)m->rec->name.len };

	memcpy(n.at, m->rec->name.data, n.len);
	return name_text(&n, ret);
}

/* -- what is there --------------------------------------------------------------------- */

/* By the inode alone: the device that sock_diag knows is another than that of stat on some. */
static bool in_use(const struct made *m, const struct stat *st)
{
	const struct graph *g = &m->s->graph;

	for (unsigned i = 0; i < g->n; i++)
		if (g->v[i].has_file && g->v[i].file_ino == (uint32_t)st->st_ino)
			return true;
	return false;
}

static int check_there(const struct made *m, struct crcore_error *err)
{
	struct stat st;

	if (lstat(m->path, &st) < 0)
		return errno == ENOENT ? 0 : crcore_fail(err, -errno, "%s", strerror(errno));
	if (!S_ISSOCK(st.st_mode)) {
		crcore_advise(err, "move it away");
		return crcore_fail(err, -EEXIST, "a socket is to be bound there, but another file is in "
		                   "the way");
	}
	if (in_use(m, &st)) {
		crcore_advise(err, "end the process that uses it (ss -xp src %s)", m->path);
		return crcore_fail(err, -EADDRINUSE, "another socket is bound there");
	}
	return 0;
}

int name_check(struct made *m, struct crcore_error *err)
{
	char dir[PATH_MAX], *slash;
	struct stat st;
	int r;

	if (!has_path(m))
		return 0;
	r = m->rec->name.data[0] == '/'
	            ? snprintf(m->path, PATH_MAX, "%.*s", (int)m->rec->name.len, m->rec->name.data)
	            : snprintf(m->path, PATH_MAX, "%s/%.*s", m->rec->dir, (int)m->rec->name.len,
	                       m->rec->name.data);
	if (r >= PATH_MAX || m->path[0] != '/')
		return crcore_fail(err, -EBADMSG, "the record of socket %u has no good name", m->rec->id);
	memcpy(dir, m->path, sizeof(dir));
	slash = strrchr(dir, '/');
	slash[slash == dir] = '\0';
	crcore_fail_at(err, -1, -1, "%s", m->path);
	if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode)) {
		crcore_advise(err, "create the directory %s", dir);
		return crcore_fail(err, -ENOENT, "a socket is to be bound there, and the directory is "
		                   "gone");
	}
	if (m->rec->has_file && (r = check_there(m, err)) < 0)
		return r;
	if (err)
		err->object[0] = '\0';
	return 0;
}

/* -- binding ------------------------------------------------------------------------------ */

/* Relative names are relative to the current directory, which changes for one call. */
static int enter(const struct made *m, int *ret_back)
{
	*ret_back = -1;
	if (!m->rec->dir[0])
		return 0;
	*ret_back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return *ret_back < 0 || chdir(m->rec->dir) < 0 ? -errno : 0;
}

static int leave(int back, int r)
{
	if (back >= 0 && fchdir(back) < 0 && !r)
		r = -errno;
	if (back >= 0)
		close(back);
	return r;
}

static int do_bind(const struct made *m, int fd)
{
	struct sockaddr_un addr;
	socklen_t len = name_address((char *)m->rec->name.data, m->rec->name.len, &addr);
	int back, r = enter(m, &back);

	if (!r && bind(fd, (struct sockaddr *)&addr, len) < 0)
		r = -errno;
	return leave(back, r);
}

int name_connect(const struct made *m, int fd)
{
	struct sockaddr_un addr;
	socklen_t len = name_address((char *)m->rec->name.data, m->rec->name.len, &addr);
	int back, r = enter(m, &back);

	if (!r && connect(fd, (struct sockaddr *)&addr, len) < 0)
		r = -errno;
	return leave(back, r);
}

static void restore_file(void *arg)
{
	struct made *m = arg;

	if (m->bound_file && !m->s->done)
		unlink(m->path);
	if (m->moved && m->s->done)
		unlink(m->aside);
	else if (m->moved)
		rename(m->aside, m->path);
	m->moved = m->bound_file = false;
}

static int name_aside(struct made *m)
{
	char *slash;

	memcpy(m->aside, m->path, sizeof(m->aside));
	slash = strrchr(m->aside, '/');
	return (size_t)snprintf(slash, sizeof(m->aside) - (size_t)(slash - m->aside),
	                        "/.crcore-socket-%d-%u", (int)getpid(), m->rec->id) >=
	       sizeof(m->aside) - (size_t)(slash - m->aside) ? -ENAMETOOLONG : 0;
}

/* Should anything go wrong, be it that we are killed. */
static int provide(struct made *m, struct crcore_error *err)
{
	const struct crcore_host *host = m->s->host;
	int r = host->undo(m->s->ctx, restore_file, m, true, err);

	if (r == 0 && name_aside(m) == 0)
		r = will_put_back(host, m->s->ctx, m->aside, m->path, err);
	return r < 0 ? r : will_remove_new(host, m->s->ctx, m->path, err);
}

static int move_aside(struct made *m)
{
	int r = name_aside(m);

	if (r < 0)
		return r;
	if (rename(m->path, m->aside) < 0)
		return -errno;
	m->moved = true;
	return 0;
}

int name_bind(struct made *m, int fd, struct crcore_error *err)
{
	char name[2 * sizeof(struct name)];
	int r;

	if (!m->rec->name.len)
		return 0;
	if (has_path(m) && (r = provide(m, err)) < 0)
		return r;
	r = do_bind(m, fd);
	if (r == -EADDRINUSE && has_path(m) && !m->moved && (r = move_aside(m)) == 0)
		r = do_bind(m, fd);
	m->bound_file = !r && has_path(m);
	if (!r)
		return 0;
	if (r == -EADDRINUSE)
		crcore_advise(err, "end the process that uses it (ss -xp)");
	return crcore_fail(err, r, "cannot bind it to %s: %s", text(m, name), strerror(-r));
}

int name_settle(struct made *m, struct crcore_error *err)
{
	if (!m->bound_file)
		return 0;
	if (!m->rec->has_file) {
		unlink(m->path);
		m->bound_file = false;
		if (m->moved && rename(m->aside, m->path) < 0)
			return crcore_fail(err, -errno, "cannot put %s back: %s", m->path, strerror(errno));
		m->moved = false;
		return 0;
	}
	if (lchown(m->path, m->rec->file_uid, m->rec->file_gid) < 0 ||
	    chmod(m->path, m->rec->file_mode & 07777) < 0)
		return crcore_fail(err, -errno, "cannot give %s its owner and mode: %s", m->path,
		                   strerror(errno));
	return 0;
}

/*
 * The kernel notes the effective ids of whoever connects. Raw calls: of this
 * thread only. Files are still looked up as root.
 */
void become(uint32_t uid, uint32_t gid)
{
	int death = 0;

	if (uid == (uint32_t)geteuid() && gid == (uint32_t)getegid())
		return;
	prctl(PR_GET_PDEATHSIG, &death); /* a change of ids clears it */
	if (geteuid() != getuid())
		syscall(SYS_setresuid, -1, getuid(), -1);
	if (gid != (uint32_t)getegid())
		syscall(SYS_setresgid, -1, gid, -1);
	if (uid != (uint32_t)geteuid())
		syscall(SYS_setresuid, -1, uid, -1);
	syscall(SYS_setfsuid, getuid());
	prctl(PR_SET_DUMPABLE, 1);
	prctl(PR_SET_PDEATHSIG, death);
}
