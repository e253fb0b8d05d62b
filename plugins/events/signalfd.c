/* SPDX-License-Identifier: Apache-2.0 */
/* signalfd: a mask. The signals themselves belong to the task that reads. */
#include "events.h"

#include <sys/syscall.h>

static int save(struct events *e, const struct crcore_object *obj, Events__Event *rec,
                struct crcore_error *err)
{
	rec->signalfd = malloc(sizeof(*rec->signalfd));
	if (!rec->signalfd)
		return crcore_no_memory(err);
	events__signalfd__init(rec->signalfd);
	if (!fdinfo_find(obj->fdinfo, "sigmask"))
		return crcore_fail(err, -ENOTSUP, "the kernel does not tell its mask");
	rec->signalfd->mask = fdinfo_number(obj->fdinfo, "sigmask", 16);
	return 0;
}

static bool is(const Events__Event *rec)
{
	return rec->signalfd != NULL;
}

static int create(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	uint64_t mask = rec->signalfd->mask;
	int fd = (int)syscall(SYS_signalfd4, -1, &mask, sizeof(mask),
	                      O_CLOEXEC | ((int)rec->flags & O_NONBLOCK));

	if (fd < 0)
		return crcore_fail(err, -errno, "cannot make it: %s", strerror(errno));
	return fd;
}

const struct kind kind_signalfd = {
	.name = "[signalfd]", .title = "signalfd", .save = save, .is = is, .create = create,
};
