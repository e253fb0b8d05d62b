/* SPDX-License-Identifier: Apache-2.0 */
/* FIFOs: with bytes, read by a child that waits, without a name, without a writer so far. */
#include "kind.h"
#include <poll.h>

static int child(void *arg)
{
	char buf[16] = "";
	int fd = open(kind_path("quiet"), O_RDWR);

	CHECK_EQ(read(fd, buf, sizeof(buf)), 4); /* nothing comes until it is over */
	CHECK_STR(buf, "late");
	return 0;
}

int main(int argc, char **argv)
{
	int r, w, gone_r, gone_w, alone, quiet;
	struct pollfd poll_fd = { .events = POLLIN };
	char buf[16] = "";
	pid_t pid;

	kind_init(argc, argv);
	CHECK(!mkfifo(kind_path("fifo"), 0600) && !mkfifo(kind_path("gone"), 0640));
	CHECK(!mkfifo(kind_path("alone"), 0600) && !mkfifo(kind_path("quiet"), 0600));
	pid = kind_fork(child, NULL); /* inherits no end */
	r = open(kind_path("fifo"), O_RDONLY | O_NONBLOCK);
	w = open(kind_path("fifo"), O_WRONLY);
	CHECK(!fcntl(r, F_SETFL, 0));
	gone_r = open(kind_path("gone"), O_RDONLY | O_NONBLOCK);
	gone_w = open(kind_path("gone"), O_WRONLY | O_CLOEXEC);
	CHECK_EQ(write(w, "fifo", 4), 4);
	CHECK_EQ(write(gone_w, "gone", 4), 4);
	CHECK(!unlink(kind_path("gone")));
	alone = open(kind_path("alone"), O_RDONLY | O_NONBLOCK);
	quiet = open(kind_path("quiet"), O_RDWR);
	kind_until_state(pid, pid, 'S');
	kind_ready();

	CHECK_EQ(read(r, buf, sizeof(buf)), 4);
	CHECK_STR(buf, "fifo");
	CHECK_EQ(fcntl(r, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
	CHECK_EQ(read(gone_r, buf, sizeof(buf)), 4);
	CHECK_STR(buf, "gone");
	CHECK_EQ(fcntl(gone_w, F_GETFD), FD_CLOEXEC);
	close(gone_w);
	CHECK_EQ(read(gone_r, buf, sizeof(buf)), 0);
	poll_fd.fd = alone;
	CHECK_EQ(poll(&poll_fd, 1, 0), 0);
	close(open(kind_path("alone"), O_WRONLY));
	CHECK_EQ(poll(&poll_fd, 1, 0), 1);
	CHECK_EQ(write(quiet, "late", 4), 4);
	kind_join(pid);
	kind_pass();
}
