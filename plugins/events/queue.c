/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events that a program has not read yet, of inotify and fanotify: reading takes them away,
 * and no system call puts one back.
 */
#include "events.h"

static int waiting(const struct crcore_object *obj)
{
	int bytes = 0;

	return ioctl(obj->local_fd, FIONREAD, &bytes) < 0 ? 0 : bytes;
}

int queue_check(const struct crcore_object *obj, const char *instead, struct crcore_error *err)
{
	int bytes = waiting(obj);

	if (!bytes)
		return 0;
	crcore_advise(err, "dump again when the program has read them, or set queued of the plugin "
	              "events to %s", instead);
	/* As long as the tree runs it may still read them: the frozen tree decides. */
	return crcore_fail(err, -EAGAIN, "%d bytes of events are not read yet and cannot be copied",
	                   bytes);
}

bool queue_lost(struct events *e, const struct crcore_object *obj)
{
	int bytes = waiting(obj);

	if (bytes)
		e->host->log(e->ctx, 1, "%d bytes of events of descriptor %d of task %d are not in the "
		             "image", bytes, obj->fd, (int)obj->pid);
	return bytes;
}
