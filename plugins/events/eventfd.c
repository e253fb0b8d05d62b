/* SPDX-License-Identifier: Apache-2.0 */
/* eventfd: a count, and whether a read takes all of it or one. */
#include "events.h"

#include <sys/eventfd.h>

static int save(struct events *e, const struct crcore_object *obj, Events__Event *rec,
                struct crcore_error *err)
{
	rec->eventfd = malloc(sizeof(*rec->eventfd));
	if (!rec->eventfd)
		return crcore_no_memory(err);
	events__eventfd__init(rec->eventfd);
	if (!fdinfo_find(obj->fdinfo, "eventfd-count"))
		return crcore_fail(err, -ENOTSUP, "the kernel does not tell its count");
	rec->eventfd->count = fdinfo_number(obj->fdinfo, "eventfd-count", 16);
	if (fdinfo_find(obj->fdinfo, "eventfd-semaphore")) {
		rec->eventfd->semaphore = fdinfo_number(obj->fdinfo, "eventfd-semaphore", 10) != 0;
	} else {
		crcore_advise(err, "run crcore on Linux 6.5 or later");
		return crcore_fail(err, -ENOTSUP, "the kernel does not tell whether it is a semaphore");
	}
	return 0;
}

static bool is(const Events__Event *rec)
{
	return rec->eventfd != NULL;
}

static int create(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	const Events__Eventfd *v = rec->eventfd;
	uint64_t most = UINT64_MAX - 1, count = v->count < most ? v->count : most;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (v->semaphore ? EFD_SEMAPHORE : 0));

	/* Only the kernel itself can take a count past the most that write(2) can. */
	if (fd < 0 || (count && write(fd, &count, sizeof(count)) != sizeof(count)) ||
	    fcntl(fd, F_SETFL, (int)rec->flags & O_NONBLOCK) < 0) {
		int saved = errno;
		if (fd >= 0)
			close(fd);
		return crcore_fail(err, -saved, "cannot make it with the count %" PRIu64 ": %s", count,
		                   strerror(saved));
	}
	return fd;
}

const struct kind kind_eventfd = {
	.name = "[eventfd]", .title = "eventfd", .save = save, .is = is, .create = create,
};
