/* SPDX-License-Identifier: Apache-2.0 */
/* timerfds: every clock, time left, intervals, absolute times, unread expirations. */
#include "kind.h"
#include <poll.h>
#include <sys/timerfd.h>

static int make(clockid_t clock, int flags, double value, double interval)
{
	int fd = timerfd_create(clock, TFD_NONBLOCK);
	struct itimerspec it = {
		.it_value = { (time_t)value, (long)((value - (double)(time_t)value) * 1e9) },
		.it_interval = { (time_t)interval, (long)((interval - (double)(time_t)interval) * 1e9) },
	};
	struct timespec now;

	if (fd < 0 && (errno == EPERM || errno == EINVAL || errno == EOPNOTSUPP))
		return -1; /* no alarm clocks here */
	CHECK(fd >= 0);
	if (flags & TFD_TIMER_ABSTIME) {
		CHECK(!clock_gettime(clock == CLOCK_REALTIME_ALARM   ? CLOCK_REALTIME
		                     : clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME : clock, &now));
		it.it_value.tv_sec += now.tv_sec;
	}
	CHECK(!timerfd_settime(fd, flags, &it, NULL));
	return fd;
}

static void check(int fd, long value, long interval)
{
	struct itimerspec it;
	uint64_t v;

	if (fd < 0)
		return;
	CHECK(read(fd, &v, sizeof(v)) < 0 && errno == EAGAIN);
	CHECK(!timerfd_gettime(fd, &it));
	if (it.it_value.tv_sec > value || it.it_value.tv_sec < value - 60)
		kind_fail("timer %d has %ld s left of %ld", fd, it.it_value.tv_sec, value);
	CHECK_EQ(it.it_interval.tv_sec, interval);
}

int main(int argc, char **argv)
{
	static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME,
		                            CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM };
	int relative[5], absolute[5], off, once, many, fast, cancel;
	struct itimerspec it;
	struct pollfd p;
	uint64_t v;

	kind_init(argc, argv);
	kind_busy(); /* time passes */
	for (int i = 0; i < 5; i++) {
		relative[i] = make(clocks[i], 0, 5000 + i, 7);
		absolute[i] = make(clocks[i], TFD_TIMER_ABSTIME, 6000 + i, 8);
	}
	off = make(CLOCK_MONOTONIC, 0, 0, 0);
	once = make(CLOCK_MONOTONIC, 0, 0.001, 0);
	many = make(CLOCK_MONOTONIC, 0, 0.010, 0.010);
	fast = make(CLOCK_BOOTTIME, TFD_TIMER_ABSTIME, 1, 0.5);
	cancel = make(CLOCK_REALTIME, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, 9000, 0);
	kind_sleep_ms(120);
	kind_ready();

	for (int i = 0; i < 5; i++) {
		check(relative[i], 5000 + i, 7);
		check(absolute[i], 6000 + i, 8);
	}
	check(cancel, 9000, 0);
	CHECK(!timerfd_gettime(off, &it) && !it.it_value.tv_sec && !it.it_value.tv_nsec);
	CHECK(read(off, &v, sizeof(v)) < 0 && errno == EAGAIN);
	p = (struct pollfd){ .fd = once, .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(read(once, &v, sizeof(v)), 8);
	CHECK_EQ(v, 1);
	CHECK(read(once, &v, sizeof(v)) < 0 && errno == EAGAIN);
	CHECK_EQ(read(many, &v, sizeof(v)), 8);
	if (v < 11 || v > 100000)
		kind_fail("%llu expirations", (unsigned long long)v);
	CHECK(!timerfd_gettime(many, &it));
	CHECK_EQ(it.it_interval.tv_nsec, 10000000);
	CHECK(it.it_value.tv_nsec > 0 && it.it_value.tv_nsec <= 10000000);
	p.fd = fast;
	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK_EQ(read(fast, &v, sizeof(v)), 8);
	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK_EQ(fcntl(once, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	kind_pass();
}
