/* SPDX-License-Identifier: Apache-2.0 */
/* Dump: records of terminals, of their descriptions, of sessions. */
#include "ttys.h"

#include <poll.h>

static bool slave_closed(int master)
{
	struct pollfd p = { .fd = master, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && p.revents & POLLHUP;
}

/* Which of its settings may not be changed, if any. */
static bool ask_fixed(int fd, struct termios *ret)
{
	static const struct termios none;

	*ret = none;
	return ioctl(fd, TIOCGLCKTRMIOS, ret) == 0 && memcmp(ret, &none, sizeof(none)) != 0;
}

/* Bytes are moved under other settings, so they may be changed for that long. */
static int copy_flight(int master, int slave, int packet, const Ttys__Terminal *rec,
                       struct flight *flight, struct crcore_error *err)
{
	static const struct termios none;

	if (rec->fixed.len && ioctl(master, TIOCSLCKTRMIOS, &none) < 0)
		return crcore_fail(err, -errno, "cannot unlock its settings: %s", strerror(errno));
	int r = flight_copy(master, slave, packet, flight, err);
	if (rec->fixed.len)
		ioctl(master, TIOCSLCKTRMIOS, rec->fixed.data);
	return r;
}

/* A master: asks for everything. Its slave is opened only if that shows to nobody. */
static int fill_master(const struct known *k, int master, Ttys__Terminal *rec,
                       struct flight *flight, struct crcore_error *err)
{
	cleanup_close int slave = -1;
	int locked = 0, packet = 0, exclusive = 0;
	char path[40];
	struct stat st;

	ioctl(master, TIOCGPTLCK, &locked);
	ioctl(master, TIOCGPKT, &packet);
	rec->locked = locked;
	rec->packet = packet;
	rec->slave_closed = slave_closed(master);
	snprintf(path, sizeof(path), "/dev/pts/%u", rec->number);
	if (k->slaves || rec->slave_closed)
		slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (slave >= 0 ? fstat(slave, &st) : stat(path, &st))
		return crcore_fail(err, -errno, "cannot look at %s: %s", path, strerror(errno));
	rec->mode = st.st_mode;
	rec->uid = st.st_uid;
	rec->gid = st.st_gid;
	if (slave < 0)
		return 0;
	ioctl(slave, TIOCGEXCL, &exclusive);
	rec->exclusive = exclusive;
	return copy_flight(master, slave, packet, rec, flight, err);
}

/* A process group, if it is of the tree. */
static uint32_t group_in_tree(const struct ttys *t, pid_t group)
{
	const struct crcore_task *task;

	for (uint32_t i = 0; group > 0 && (task = t->host->task(t->ctx, i)); i++)
		if (task->pgid == group && task->state != CRCORE_TASK_ZOMBIE)
			return (uint32_t)group;
	return 0;
}

/* The foreground group of an outside terminal. */
static uint32_t foreground_group(const struct ttys *t, const struct crcore_object *obj, dev_t dev)
{
	pid_t foreground = 0;
	dev_t theirs = 0;

	ttys_of_task(obj->pid, &theirs, &foreground);
	return theirs == dev ? group_in_tree(t, foreground) : 0;
}

static int save_terminal(struct ttys *t, struct known *k, const struct crcore_object *obj,
                         struct crcore_error *err)
{
	Ttys__Terminal rec = TTYS__TERMINAL__INIT;
	struct flight flight = { 0 };
	struct termios2 termios;
	struct termios fixed;
	struct winsize size;
	int exclusive = 0, r = 0;

	rec.key = 1 + (uint32_t)(k - t->known);
	rec.number = ttys_is_pts(k->dev) ? minor(k->dev) : 0;
	rec.dev = (uint32_t)k->dev;
	rec.hung_up = k->hung_up;
	rec.external = !k->master && !k->hung_up && !k->path;
	if (k->path)
		rec.path = (char *)(uintptr_t)k->path;
	if (!k->hung_up) {
		if (ioctl(obj->local_fd, TCGETS2, &termios) < 0 ||
		    ioctl(obj->local_fd, TIOCGWINSZ, &size) < 0)
			return crcore_fail(err, -errno, "cannot ask for its settings: %s", strerror(errno));
		rec.termios = (ProtobufCBinaryData){ sizeof(termios), (uint8_t *)&termios };
		rec.winsize = (ProtobufCBinaryData){ sizeof(size), (uint8_t *)&size };
		if (!rec.external && ask_fixed(obj->local_fd, &fixed))
			rec.fixed = (ProtobufCBinaryData){ sizeof(fixed), (uint8_t *)&fixed };
	}
	if (k->master)
		r = fill_master(k, obj->local_fd, &rec, &flight, err);
	else if (k->path)
		rec.exclusive = ioctl(obj->local_fd, TIOCGEXCL, &exclusive) == 0 && exclusive;
	else if (rec.external)
		rec.foreground = foreground_group(t, obj, k->dev);
	rec.to_slave = (ProtobufCBinaryData){ flight.nslave, flight.to_slave };
	rec.to_master = (ProtobufCBinaryData){ flight.nmaster, flight.to_master };
	if (!r)
		r = record_put(t->host, t->ctx, "terminal", &rec.base, err);
	flight_free(&flight);
	k->saved = r == 0;
	return r;
}

static bool is_cloexec(const char *fdinfo)
{
	const char *flags = strstr(fdinfo, "flags:");

	return flags && strtoul(flags + strlen("flags:"), NULL, 8) & O_CLOEXEC;
}

int ttys_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct ttys *t = state;
	struct known *k = ttys_known(t, obj);
	Ttys__End end = TTYS__END__INIT;
	int r = 0;

	if (!k)
		return crcore_fail(err, -ESTALE, "this terminal was not there when the tree was looked at");
	end.id = obj->id;
	end.terminal = 1 + (uint32_t)(k - t->known);
	end.side = obj->st.st_rdev == MASTER_DEV ? TTYS__SIDE__MASTER :
	           obj->st.st_rdev == CONTROLLING_DEV ? TTYS__SIDE__CONTROLLING : TTYS__SIDE__SLAVE;
	end.flags = obj->flags & ~(uint32_t)(O_CLOEXEC | O_NOCTTY);
	end.path = (char *)obj->link;
	end.pid = (uint32_t)obj->pid;
	end.fd = obj->holders == 1 ? 1 + (uint32_t)obj->fd : 0;
	end.cloexec = is_cloexec(obj->fdinfo);
	if (!k->saved && (!k->master || end.side == TTYS__SIDE__MASTER))
		r = save_terminal(t, k, obj, err);
	if (!r)
		r = record_put(t->host, t->ctx, "end", &end.base, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}

/* Sessions led by a task of the tree, with a terminal of the tree. */
int ttys_save(void *state, struct crcore_error *err)
{
	struct ttys *t = state;
	const struct crcore_task *task;

	for (uint32_t i = 0; (task = t->host->task(t->ctx, i)); i++) {
		Ttys__Session rec = TTYS__SESSION__INIT;
		struct known *k;
		pid_t foreground;
		dev_t dev;
		int r;
		if (task->pid != task->sid || !ttys_of_task(task->pid, &dev, &foreground) || !dev)
			continue;
		k = ttys_find(t, dev, false);
		if (!k || (!k->master && !k->path)) {
			if (t->external == EXTERNAL_INHERIT)
				continue;
			crcore_fail_at(err, task->pid, -1, "controlling terminal %u:%u", major(dev),
			               minor(dev));
			crcore_advise(err, "start it with setsid, or dump what drives its terminal too");
			return crcore_fail(err, -ENOTSUP, "what drives it is outside the tree");
		}
		rec.sid = (uint32_t)task->sid;
		rec.terminal = 1 + (uint32_t)(k - t->known);
		rec.foreground = group_in_tree(t, foreground);
		r = record_put(t->host, t->ctx, "session", &rec.base, err);
		if (r < 0)
			return r;
	}
	return 0;
}
