/* SPDX-License-Identifier: Apache-2.0 */
/* Pipes with bytes in them: size, flags, both ends in several processes, one end twice. */
#include "kind.h"

static int p[2], full[2];

static int writer(void *arg)
{
	char block[4096];

	close(p[0]);
	memset(block, 'w', sizeof(block));
	for (int i = 0; i < 40; i++) /* more than fits: it waits in write */
		CHECK_EQ(write(full[1], block, sizeof(block)), 4096);
	kind_wait();
	CHECK_EQ(write(p[1], "child", 5), 5);
	return 0;
}

int main(int argc, char **argv)
{
	char buf[4096], path[64];
	int again, got = 0;
	pid_t pid;

	kind_init(argc, argv);
	CHECK(!pipe2(p, O_CLOEXEC) && !pipe(full));
	CHECK_EQ(fcntl(p[0], F_SETPIPE_SZ, 16384), 16384);
	CHECK(!fcntl(p[0], F_SETFL, O_NONBLOCK));
	CHECK_EQ(write(p[1], "parent ", 7), 7);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
	again = open(path, O_RDONLY);
	pid = kind_fork(writer, NULL);
	close(full[1]);
	while (fcntl(full[0], F_GETFD) == 0 && kind_state(pid, pid) != 'S')
		kind_sleep_ms(1);
	kind_ready();

	while (got < 40 * 4096) {
		ssize_t n = read(full[0], buf, sizeof(buf));
		CHECK(n > 0 && buf[0] == 'w' && buf[n - 1] == 'w');
		got += (int)n;
	}
	kind_join(pid);
	CHECK_EQ(read(full[0], buf, 1), 0); /* the writer is gone */
	memset(buf, 0, 16);
	CHECK_EQ(read(again, buf, 7), 7);
	CHECK_EQ(read(p[0], buf + 7, 16), 5);
	CHECK_STR(buf, "parent child");
	CHECK(read(p[0], buf, 1) < 0 && errno == EAGAIN);
	CHECK_EQ(fcntl(p[1], F_GETPIPE_SZ), 16384);
	CHECK_EQ(fcntl(p[0], F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(again, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
	kind_pass();
}
