/* SPDX-License-Identifier: Apache-2.0 */
/* Pipes with one end closed, packets, and who may open a pipe again. */
#include "kind.h"

int main(int argc, char **argv)
{
	int eof[2], broken[2], packets[2];
	char buf[64];
	struct stat st;

	kind_init(argc, argv);
	CHECK(!pipe(eof) && !pipe(broken) && !pipe2(packets, O_DIRECT | O_NONBLOCK));
	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(write(eof[1], "last", 4), 4);
	close(eof[1]);
	close(broken[0]);
	CHECK_EQ(write(packets[1], "one", 3), 3);
	CHECK_EQ(write(packets[1], "three", 5), 5);
	CHECK(!fchown(packets[0], 1000, 1001) && !fchmod(packets[0], 0640));
	kind_ready();

	CHECK_EQ(read(eof[0], buf, sizeof(buf)), 4);
	CHECK_EQ(read(eof[0], buf, sizeof(buf)), 0);
	CHECK(write(broken[1], "x", 1) < 0 && errno == EPIPE);
	CHECK_EQ(read(packets[0], buf, sizeof(buf)), 3);
	CHECK_EQ(read(packets[0], buf, sizeof(buf)), 5);
	CHECK_EQ(fcntl(packets[1], F_GETFL), O_WRONLY | O_DIRECT | O_NONBLOCK);
	CHECK_EQ(write(packets[1], "a", 1) + write(packets[1], "b", 1), 2);
	CHECK_EQ(read(packets[0], buf, sizeof(buf)), 1);
	CHECK(!fstat(packets[1], &st));
	CHECK(st.st_uid == 1000 && st.st_gid == 1001 && st.st_mode == (S_IFIFO | 0640));
	kind_pass();
}
