/* SPDX-License-Identifier: Apache-2.0 */
/* eventfds: counts, semaphores, flags, one shared with a child, one that a child waits on. */
#include "kind.h"
#include <sys/eventfd.h>

static int shared, waited;

static int child(void *arg)
{
	uint64_t v = 0;

	while (read(waited, &v, sizeof(v)) < 0)
		CHECK(errno == EINTR);
	CHECK_EQ(v, 9);
	kind_wait();
	CHECK_EQ(read(shared, &v, sizeof(v)), 8);
	CHECK_EQ(v, 1);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t v = UINT64_MAX - 1;
	int plain, full, empty;
	pid_t pid;

	kind_init(argc, argv);
	plain = eventfd(41, EFD_CLOEXEC);
	full = eventfd(0, EFD_NONBLOCK);
	empty = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE);
	shared = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
	waited = eventfd(0, 0);
	CHECK(plain >= 0 && full >= 0 && empty >= 0 && shared >= 0 && waited >= 0);
	CHECK_EQ(write(full, &v, sizeof(v)), 8);
	pid = kind_fork(child, NULL);
	kind_until_state(pid, pid, 'S');
	kind_ready();

	v = 9;
	CHECK_EQ(write(waited, &v, sizeof(v)), 8);
	kind_join(pid);
	CHECK_EQ(read(plain, &v, sizeof(v)), 8);
	CHECK_EQ(v, 41);
	CHECK_EQ(fcntl(plain, F_GETFD), FD_CLOEXEC);
	v = 1;
	CHECK(write(full, &v, sizeof(v)) < 0 && errno == EAGAIN);
	CHECK_EQ(read(full, &v, sizeof(v)), 8);
	CHECK_EQ(v, -2);
	CHECK(read(empty, &v, sizeof(v)) < 0 && errno == EAGAIN);
	for (int i = 0; i < 2; i++) { /* the child took one of three */
		CHECK_EQ(read(shared, &v, sizeof(v)), 8);
		CHECK_EQ(v, 1);
	}
	CHECK(read(shared, &v, sizeof(v)) < 0 && errno == EAGAIN);
	kind_pass();
}
