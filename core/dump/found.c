/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptions that no descriptor of the tree leads to, but another object, in
 * which a plugin has found them. They become objects like all others, held by
 * the coordinator, unless the tree has them already.
 */
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include "core/dump/dump.h"
#include "core/util/util.h"

static bool same(const struct object *o, int fd)
{
	return syscall(SYS_kcmp, o->abi.pid, getpid(), KCMP_FILE, (long)o->abi.fd, (long)fd) == 0;
}

static struct object *known(const struct objects *os, int fd, const struct stat *st)
{
	for (unsigned i = 0; i < os->n; i++) {
		struct object *o = os->v[i];
		if (o->abi.class_ == CRCORE_DESCRIPTION && o->abi.st.st_dev == st->st_dev &&
		    o->abi.st.st_ino == st->st_ino && same(o, fd))
			return o;
	}
	return NULL;
}

static int fill(struct object *o, int fd, const struct stat *st, struct crcore_error *err)
{
	char path[40], link[4096];
	const char *v;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(path, link, sizeof(link) - 1);
	link[n < 0 ? 0 : n] = '\0';
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	int r = proc_read(AT_FDCWD, path, &o->fdinfo, NULL, err);

	o->link = strdup(link);
	if (r == 0 && !o->link)
		r = crcore_no_memory(err);
	if (r < 0)
		return r;
	v = proc_field(o->fdinfo, "flags");
	uint32_t flags = v ? (uint32_t)strtoul(v, NULL, 8) : 0;
	v = proc_field(o->fdinfo, "pos");
	o->async = flags & O_ASYNC;
	o->abi = (struct crcore_object){
		.size = sizeof(o->abi), .class_ = CRCORE_DESCRIPTION, .pid = getpid(), .fd = fd,
		.local_fd = -1, .flags = flags & ~(uint32_t)(O_ASYNC | O_CLOEXEC),
		.pos = v ? strtoll(v, NULL, 10) : 0, .st = *st, .link = o->link, .fdinfo = o->fdinfo,
	};
	v = proc_field(o->fdinfo, "mnt_id");
	o->abi.mnt_id = v ? (uint32_t)strtoul(v, NULL, 10) : 0;
	return 0;
}

/* What belongs to holders of a descriptor needs one in the tree. */
static int check(const struct object *o, struct crcore_error *err)
{
	if (!o->async && !strstr(o->fdinfo, "\nlock:"))
		return 0;
	crcore_fail_at(err, -1, -1, "%s", o->link);
	crcore_advise(err, "dump when it has been received");
	return crcore_fail(err, -ENOTSUP, "no task has a descriptor of it, and it %s, which only a "
	                   "task can be given back",
	                   o->async ? "tells events by signals" : "holds a lock");
}

static int add(struct survey *s, int fd, const struct stat *st, struct crcore_error *err)
{
	struct object *o = calloc(1, sizeof(*o));
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0), r = o && own >= 0 ? 0 : -ENOMEM;

	if (r < 0)
		crcore_fail(err, r, "cannot keep a description that was found");
	if (r == 0 && (r = fill(o, own, st, err)) == 0)
		r = check(o, err);
	if (r < 0) {
		if (o) {
			free(o->link);
			free(o->fdinfo);
		}
		free(o);
		if (own >= 0)
			close(own);
		return r;
	}
	o->task = s->tree.tasks[0];
	r = objects_add(&s->objects, o, err);
	if (r < 0)
		return r;
	o->found = true;
	return (int)o->abi.id;
}

int survey_found(struct survey *s, int fd, struct crcore_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return crcore_fail(err, -errno, "%s", strerror(errno));
	struct object *o = known(&s->objects, fd, &st);

	return o ? (int)o->abi.id : add(s, fd, &st, err);
}
