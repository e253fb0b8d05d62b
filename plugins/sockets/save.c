/* SPDX-License-Identifier: Apache-2.0 */
/* Dump: the record of one socket. */
#include "sockets.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0)
#endif
#define DELETED " (deleted)"

/* Where the file of a socket is: for a relative name, what comes before it. */
static int fill_place(const struct name *n, const char *link, char dir[PATH_MAX],
                      Sockets__Unix *rec, struct crcore_error *err)
{
	size_t len = strlen(link), tail = n->len;

	if (len > strlen(DELETED) && !strcmp(link + len - strlen(DELETED), DELETED))
		len -= strlen(DELETED);
	if (n->at[0] == '/')
		return 0;
	if (tail && len > tail && memcmp(link + len - tail, n->at, tail) == 0 &&
	       link[len - tail - 1] == '/' && strncmp(n->at, "..", 2) && strncmp(n->at, "./", 2)) {
		len -= tail + 1;
		snprintf(dir, PATH_MAX, "%.*s", (int)(len ? len : 1), link);
		rec->dir = dir;
		return 0;
	}
	crcore_advise(err, "have it bound by a path that begins with / or a plain name");
	return crcore_fail(err, -ENOTSUP, "its name %.*s is relative, and where that leads cannot be "
	                   "told", (int)n->len, n->at);
}

/* The file, through a descriptor that the kernel opens for us. */
static int fill_file(int fd, const struct name *n, char dir[PATH_MAX], Sockets__Unix *rec,
                     struct crcore_error *err)
{
	cleanup_close int file = ioctl(fd, SIOCUNIXFILE, 0);
	char proc[40], link[PATH_MAX];
	struct stat there, named;
	ssize_t len;
	int r;

	if (file < 0)
		return crcore_fail(err, -errno, "its file cannot be opened: %s", strerror(errno));
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", file);
	len = readlink(proc, link, sizeof(link) - 1);
	if (len < 0 || fstat(file, &there) < 0)
		return crcore_fail(err, -errno, "its file cannot be looked at: %s", strerror(errno));
	link[len] = '\0';
	r = fill_place(n, link, dir, rec, err);
	rec->file_mode = there.st_mode;
	rec->file_uid = there.st_uid;
	rec->file_gid = there.st_gid;
	rec->has_file = there.st_nlink > 0 && lstat(link, &named) == 0 &&
	                named.st_dev == there.st_dev && named.st_ino == there.st_ino;
	return r;
}

static int fill_name(int fd, const struct known *k, char dir[PATH_MAX], Sockets__Unix *rec,
                     struct crcore_error *err)
{
	const struct name *n = &k->d->name;

	rec->name.data = (uint8_t *)(uintptr_t)n->at;
	rec->name.len = n->len;
	if (!n->len || !n->at[0])
		return 0;
	return fill_file(fd, n, dir, rec, err);
}

/* What waits to be reported, or cannot be peeked at. */
static int check_pending(int fd, Sockets__Unix *rec, struct crcore_error *err)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };
	int waiting = 0;

	if (poll(&p, 1, 0) <= 0)
		return 0;
	if (p.revents & POLLPRI) {
		crcore_advise(err, "dump when it has been read");
		return crcore_fail(err, -ENOTSUP, "out-of-band data waits in it, which cannot be saved "
		                   "yet");
	}
	if (!(p.revents & POLLERR))
		return 0;
	ioctl(fd, SIOCINQ, &waiting);
	rec->reset = rec->state == SOCKETS__STATE__GONE && stream_like(rec->type);
	if (rec->reset && (rec->type == SOCK_STREAM || !waiting))
		return 0;
	crcore_advise(err, "dump when it has been read");
	return crcore_fail(err, -ENOTSUP, "an error waits to be reported by it, which a look at its "
	                   "messages would take");
}

static void fill_cred(int fd, Sockets__Unix *rec)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || !cred.pid)
		return;
	rec->has_cred = true;
	rec->cred_pid = (uint32_t)cred.pid;
	rec->cred_uid = cred.uid;
	rec->cred_gid = cred.gid;
}

static void fill_plain(const struct crcore_object *obj, const struct known *k, Sockets__Unix *rec)
{
	rec->id = obj->id;
	rec->type = k->d->type;
	rec->flags = obj->flags & ~(uint32_t)O_CLOEXEC;
	rec->state = k->state;
	rec->peer = k->peer ? k->peer->id : 0;
	rec->place = k->place;
	rec->holder = k->state == SOCKETS__STATE__WAITING && obj->pid != getpid() ? (uint32_t)obj->pid :
	                                                                            0;
	rec->mode = obj->st.st_mode;
	rec->uid = obj->st.st_uid;
	rec->gid = obj->st.st_gid;
	rec->backlog = k->state == SOCKETS__STATE__LISTENING ? (int32_t)k->d->wqueue : 0;
	rec->shutdown = k->d->shutdown & 3;
	rec->label = k->state == SOCKETS__STATE__INHERIT ? (char *)(uintptr_t)obj->link : rec->label;
	rec->peer_name.data = (uint8_t *)(uintptr_t)k->peer_name.at;
	rec->peer_name.len = k->peer_name.len;
}

int sockets_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct sockets *s = state;
	const struct known *k = sockets_known(s, (uint32_t)obj->st.st_ino);
	Sockets__Unix rec = SOCKETS__UNIX__INIT;
	struct net_value *values = NULL;
	uint64_t *filter = NULL;
	char dir[PATH_MAX];
	bool locked = false;
	int r;

	if (!k || !k->d)
		return crcore_fail(err, -EINVAL, "this socket was not there when the tree was looked at");
	fill_plain(obj, k, &rec);
	rec.peek_offset = -1;
	fill_cred(obj->local_fd, &rec);
	r = fill_name(obj->local_fd, k, dir, &rec, err);
	if (!r)
		r = check_pending(obj->local_fd, &rec, err);
	if (!r)
		r = options_save(s, obj->local_fd, &rec, &values, err);
	if (!r)
		r = net_filter_read(obj->local_fd, &filter, &rec.n_filter, &locked, err);
	rec.filter = filter;
	rec.filter_locked = locked;
	if (!r && k->state != SOCKETS__STATE__LISTENING && k->state != SOCKETS__STATE__INHERIT)
		r = queue_save(s, obj, &rec, err);
	if (!r)
		r = record_put(s->host, s->ctx, "unix", &rec.base, err);
	queue_free(&rec);
	free(rec.options);
	free(values);
	free(filter);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}

int sockets_save(void *state, struct crcore_error *err)
{
	return queue_flush(state, err);
}
