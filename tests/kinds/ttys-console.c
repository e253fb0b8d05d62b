/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual console: settings, flags, exclusive use, and the session of a child that has it. */
#include "kind.h"
#include <linux/vt.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <termios.h>

enum { CONSOLES = 4 }; /* their major number */

static const char *path;
static volatile int *ready;

/* A device node of our own, of a console that nobody has open. */
static void find_console(void)
{
	int first = open("/dev/tty0", O_RDWR | O_NOCTTY | O_CLOEXEC), number = -1;

	if (first < 0 || ioctl(first, VT_OPENQRY, &number) || number < 1)
		kind_skip("no virtual console is free");
	CHECK(!close(first));
	path = strdup(kind_path("console"));
	CHECK(!mknod(path, S_IFCHR | 0600, makedev(CONSOLES, (unsigned)number)));
}

static int child(void *arg)
{
	int fd = open(path, O_RDWR);

	CHECK(fd >= 0 && setsid() == getpid() && !ioctl(fd, TIOCSCTTY, 0));
	CHECK_EQ(tcgetpgrp(fd), getpid());
	*ready = 1;
	kind_wait();
	CHECK_EQ(tcgetsid(fd), getpid());
	CHECK_EQ(tcgetpgrp(fd), getpid());
	int controlling = open("/dev/tty", O_RDWR);
	CHECK(controlling >= 0 && !close(controlling));
	*ready = 2;
	kind_until(ready, 3); /* its end hangs the console up */
	return 0;
}

int main(int argc, char **argv)
{
	struct termios set, now;
	struct stat st;
	int exclusive = 0;

	kind_init(argc, argv);
	find_console();
	int fd = open(path, O_RDWR | O_NOCTTY);
	if (fd < 0)
		kind_skip("a virtual console cannot be opened");
	int other = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_APPEND | O_CLOEXEC);
	CHECK(other >= 0 && !tcgetattr(fd, &set));
	set.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
	set.c_cc[VINTR] = 7;
	CHECK(!tcsetattr(fd, TCSANOW, &set));
	ready = kind_shared(4096);
	pid_t pid = kind_fork(child, NULL);
	kind_until(ready, 1);
	CHECK(!ioctl(fd, TIOCEXCL));
	kind_ready();

	kind_until(ready, 2);
	CHECK(!fstat(fd, &st) && S_ISCHR(st.st_mode) && major(st.st_rdev) == CONSOLES);
	CHECK(!tcgetattr(other, &now) && now.c_lflag == set.c_lflag && now.c_iflag == set.c_iflag);
	CHECK(!memcmp(now.c_cc, set.c_cc, NCCS));
	CHECK(!ioctl(fd, TIOCGEXCL, &exclusive));
	CHECK_EQ(exclusive, 1);
	CHECK_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_APPEND), O_RDWR);
	CHECK_EQ(fcntl(other, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_APPEND), O_WRONLY | O_NONBLOCK | O_APPEND);
	CHECK_EQ(fcntl(other, F_GETFD), FD_CLOEXEC);
	*ready = 3;
	kind_join(pid);
	kind_pass();
}
