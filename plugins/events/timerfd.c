/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timerfd: clock, time, interval, and the expirations that nobody has read yet.
 * A timer that was set to a time from now has as much time left after the
 * restore as it had at the dump; one that was set to a time of its clock
 * expires at that time, at once if it is past. Either is set at the very end,
 * so that the time a restore takes is not lost.
 */
#include "events.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>

#ifndef TFD_IOC_SET_TICKS /* linux/timerfd.h clashes with fcntl.h */
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif

#define SECOND 1000000000ull
#define FLAGS (uint32_t)(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)

/* "it_value: (3, 17)" */
static uint64_t read_time(const char *fdinfo, const char *key)
{
	unsigned long long s = 0, ns = 0;
	const char *p = fdinfo_find(fdinfo, key);

	return p && sscanf(p, " (%llu, %llu)", &s, &ns) == 2 ? s * SECOND + ns : 0;
}

/* The time of an alarm clock can be asked for only where there is hardware for it. */
static clockid_t plain_clock(clockid_t clock)
{
	if (clock == CLOCK_REALTIME_ALARM)
		return CLOCK_REALTIME;
	return clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME : clock;
}

static int fill(const char *fdinfo, uint64_t now, Events__Timerfd *v)
{
	if (!fdinfo_find(fdinfo, "clockid") || !fdinfo_find(fdinfo, "ticks"))
		return -ENOTSUP;
	v->clock = (int32_t)fdinfo_number(fdinfo, "clockid", 10);
	v->ticks = fdinfo_number(fdinfo, "ticks", 10);
	v->settime_flags = (uint32_t)fdinfo_number(fdinfo, "settime flags", 8) & FLAGS;
	v->interval = read_time(fdinfo, "it_interval");
	v->value = read_time(fdinfo, "it_value");
	v->armed = v->value != 0;
	if (v->armed && v->settime_flags & TFD_TIMER_ABSTIME)
		v->value += now;
	return 0;
}

static int save(struct events *e, const struct crcore_object *obj, Events__Event *rec,
                struct crcore_error *err)
{
	cleanup_free char *fdinfo = NULL;
	struct itimerspec it;
	struct timespec now = { 0 };
	int r;

	rec->timerfd = malloc(sizeof(*rec->timerfd));
	if (!rec->timerfd)
		return crcore_no_memory(err);
	events__timerfd__init(rec->timerfd);
	/* A timer with an interval stands still from its first unread expiration until
	 * somebody looks; looking counts those that were due since. */
	timerfd_gettime(obj->local_fd, &it);
	fdinfo = fdinfo_read(0, obj->local_fd);
	/* In this order it may expire late by the time of a system call, not early. */
	clock_gettime(plain_clock((clockid_t)fdinfo_number(obj->fdinfo, "clockid", 10)), &now);
	if (!fdinfo)
		return crcore_fail(err, -EIO, "cannot read what /proc tells of it");
	r = fill(fdinfo, (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec, rec->timerfd);
	return r < 0 ? crcore_fail(err, r, "the kernel does not tell how it is set") : 0;
}

static bool is(const Events__Event *rec)
{
	return rec->timerfd != NULL;
}

static int check(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	const Events__Timerfd *v = rec->timerfd;

	if (v->settime_flags & ~FLAGS || v->value > INT64_MAX || v->interval > INT64_MAX)
		return crcore_fail(err, -EBADMSG, "its record makes no sense");
	return 0;
}

static int create(struct events *e, const Events__Event *rec, struct crcore_error *err)
{
	int fd = timerfd_create(rec->timerfd->clock, TFD_CLOEXEC | ((int)rec->flags & O_NONBLOCK));

	if (fd < 0)
		return crcore_fail(err, -errno, "cannot make one of clock %d: %s", rec->timerfd->clock,
		                   strerror(errno));
	return fd;
}

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / SECOND), (long)(ns % SECOND) };
}

static int settle(struct events *e, const Events__Event *rec, int fd, struct crcore_error *err)
{
	const Events__Timerfd *v = rec->timerfd;
	struct itimerspec it = { .it_interval = to_timespec(v->interval) };

	/* An absolute time of 0 would disarm; it is as past as any. */
	if (v->armed)
		it.it_value = to_timespec(v->value ? v->value : 1);
	if (timerfd_settime(fd, (int)v->settime_flags, &it, NULL) < 0)
		return crcore_fail(err, -errno, "cannot set it: %s", strerror(errno));
	if (v->ticks && ioctl(fd, TFD_IOC_SET_TICKS, &v->ticks) < 0) {
		int saved = errno;
		crcore_advise(err, "use a kernel with CONFIG_CHECKPOINT_RESTORE");
		return crcore_fail(err, -saved, "cannot set its expirations that were not read yet: %s",
		                   strerror(saved));
	}
	return 0;
}

const struct kind kind_timerfd = {
	.name = "[timerfd]", .title = "timerfd", .save = save, .is = is, .check = check,
	.create = create, .settle = settle,
};
