/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom the kernel tells by a signal that something has happened to a description
 * (fcntl(2), F_SETOWN, F_SETSIG, O_ASYNC). It is the same for all sorts of
 * descriptions, so the core keeps it, and plugins do not see O_ASYNC.
 */
#include <fcntl.h>
#include "core/dump/dump.h"
#include "core/util/util.h"

static bool is_of(const struct task *t, const struct f_owner_ex *o)
{
	if (o->type == F_OWNER_PGRP)
		return t->abi.pgid == o->pid;
	for (unsigned i = 0; o->type == F_OWNER_TID && i < t->nthreads; i++)
		if (t->threads[i].tid == o->pid)
			return true;
	return t->abi.pid == o->pid;
}

static bool in_tree(const struct tree *tree, const struct f_owner_ex *o)
{
	for (unsigned i = 0; i < tree->ntasks; i++)
		if (is_of(tree->tasks[i], o))
			return true;
	return false;
}

int object_owner(struct object *o, const struct tree *tree, struct crcore_error *err)
{
	if (o->abi.class_ != CRCORE_DESCRIPTION || o->abi.flags & O_PATH)
		return 0;
	o->signal = fcntl(o->abi.local_fd, F_GETSIG);
	if (o->signal < 0)
		o->signal = 0;
	if (fcntl(o->abi.local_fd, F_GETOWN_EX, &o->told) < 0)
		o->told.pid = 0;
	if (!o->told.pid || in_tree(tree, &o->told))
		return 0;
	if (!o->async) { /* nothing is told as long as that is so */
		log_line(1, "pid %d: fd %d: its owner (F_SETOWN), %d, is outside the tree and is forgotten",
		         o->abi.pid, o->abi.fd, o->told.pid);
		o->told.pid = 0;
		return 0;
	}
	crcore_advise(err, "dump a tree that holds it too, or switch O_ASYNC off before");
	return crcore_fail(err, -ENOTSUP, "its signals (O_ASYNC) go to %s %d, outside of the tree",
	                   o->told.type == F_OWNER_PGRP ? "group" : "process", o->told.pid);
}

Crcore__Owner *object_owner_record(const struct object *o, Crcore__Owner *ret)
{
	if (!o->async && !o->told.pid && !o->signal)
		return NULL;
	crcore__owner__init(ret);
	ret->type = (uint32_t)o->told.type;
	ret->pid = (uint32_t)o->told.pid;
	ret->signal = (uint32_t)o->signal;
	ret->async = o->async;
	ret->flags = (o->abi.flags & (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME)) |
	             (o->async ? O_ASYNC : 0);
	return ret;
}
