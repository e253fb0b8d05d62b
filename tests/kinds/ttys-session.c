/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session with a controlling terminal, as a terminal emulator and a shell
 * make it: /dev/tty, the foreground group, and the interrupt key that reaches
 * just that group.
 */
#include "kind.h"
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave;
static volatile sig_atomic_t interrupts;
static void on_interrupt(int sig) { interrupts++; }

static int job(void *arg)
{
	int tty = open("/dev/tty", O_RDONLY);

	CHECK(tty >= 0);
	setpgid(0, 0);
	signal(SIGINT, on_interrupt);
	*(volatile int *)arg = 1;
	kind_wait();
	CHECK_EQ(tcgetpgrp(tty), getpid());
	for (int i = 0; i < 1000 && !interrupts; i++)
		kind_sleep_ms(10);
	CHECK_EQ(interrupts, 1);
	return 0;
}

static int shell(void *arg)
{
	int tty;
	pid_t pid, group;

	close(master);
	CHECK(setsid() > 0 && !ioctl(slave, TIOCSCTTY, 0));
	signal(SIGINT, on_interrupt);
	signal(SIGTTOU, SIG_IGN);
	pid = kind_fork(job, arg);
	kind_until(arg, 1);
	tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	CHECK(tty >= 0 && !tcsetpgrp(tty, pid));
	*(volatile int *)arg = 2;
	kind_wait();

	CHECK_EQ(tcgetpgrp(slave), pid);
	CHECK_EQ(tcgetpgrp(tty), pid);
	CHECK_EQ(tcgetsid(tty), getpid());
	CHECK(!ioctl(tty, TIOCGPGRP, &group));
	CHECK_EQ(fcntl(tty, F_GETFD), FD_CLOEXEC);
	*(volatile int *)arg = 3;
	kind_join(pid);
	CHECK_EQ(interrupts, 0);
	CHECK(!tcsetpgrp(tty, getpid()));
	return 0;
}

int main(int argc, char **argv)
{
	volatile int *step;
	char path[64];
	pid_t pid;

	kind_init(argc, argv);
	step = kind_shared(4096);
	master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	if (master < 0 || unlockpt(master))
		kind_skip("no pseudo-terminals here");
	CHECK(!ptsname_r(master, path, sizeof(path)));
	slave = open(path, O_RDWR | O_NOCTTY);
	CHECK(slave >= 0);
	pid = kind_fork(shell, (void *)step);
	close(slave);
	kind_until(step, 2);
	kind_ready();

	kind_until(step, 3);
	CHECK_EQ(write(master, "\003", 1), 1);
	kind_join(pid);
	kind_pass();
}
