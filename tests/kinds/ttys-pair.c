/* SPDX-License-Identifier: Apache-2.0 */
/* Both sides of a pseudo-terminal: number, settings, size, bytes on their way each way. */
#include "kind.h"
#include <sys/ioctl.h>
#include <termios.h>

int main(int argc, char **argv)
{
	const struct winsize size = { 33, 77, 0, 0 };
	struct winsize now;
	struct termios set, termios, fixed = { 0 };
	char path[64], again[64], buf[64];
	int master, slave;
	struct stat st;

	kind_init(argc, argv);
	master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (master < 0 || unlockpt(master))
		kind_skip("no pseudo-terminals here");
	CHECK(!ptsname_r(master, path, sizeof(path)));
	slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	CHECK(slave >= 0);
	CHECK(!tcgetattr(slave, &set));
	set.c_lflag &= ~(tcflag_t)ECHO;
	set.c_cc[VINTR] = 7;
	CHECK(!tcsetattr(slave, TCSANOW, &set) && !ioctl(slave, TIOCSWINSZ, &size));
	fixed.c_lflag = ICANON;
	fixed.c_cc[VINTR] = 1;
	CHECK(!ioctl(slave, TIOCSLCKTRMIOS, &fixed));
	CHECK(!fchown(slave, 1000, 5) && !fchmod(slave, 0622));
	CHECK_EQ(write(master, "line\npart", 9), 9);
	CHECK_EQ(write(slave, "out\n", 4), 4);
	kind_sleep_ms(50);
	kind_ready();

	CHECK(!ptsname_r(master, again, sizeof(again)));
	CHECK_STR(again, path);
	CHECK(!tcgetattr(slave, &termios) && !ioctl(master, TIOCGWINSZ, &now));
	CHECK(termios.c_lflag == set.c_lflag && termios.c_iflag == set.c_iflag);
	CHECK(!memcmp(termios.c_cc, set.c_cc, NCCS));
	memset(&fixed, 0, sizeof(fixed));
	CHECK(!ioctl(slave, TIOCGLCKTRMIOS, &fixed));
	CHECK(fixed.c_lflag == ICANON && fixed.c_cc[VINTR] == 1 && !fixed.c_iflag);
	CHECK(now.ws_row == 33 && now.ws_col == 77);
	CHECK(!stat(path, &st) && st.st_uid == 1000 && (st.st_mode & 07777) == 0622);
	CHECK_EQ(read(master, buf, sizeof(buf)), 5);
	CHECK(!memcmp(buf, "out\r\n", 5));
	CHECK_EQ(read(slave, buf, sizeof(buf)), 5);
	CHECK(!memcmp(buf, "line\n", 5));
	CHECK_EQ(write(master, "ial\n", 4), 4);
	CHECK_EQ(read(slave, buf, sizeof(buf)), 8);
	CHECK(!memcmp(buf, "partial\n", 8));
	CHECK_EQ(fcntl(slave, F_GETFD), FD_CLOEXEC);
	close(slave);
	CHECK(read(master, buf, 1) < 0 && errno == EIO);
	kind_pass();
}
