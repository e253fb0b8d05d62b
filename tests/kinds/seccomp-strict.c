/* SPDX-License-Identifier: Apache-2.0 */
/* Strict mode: read, write and exit, and death for anything else. */
#include "seccomp.h"

static int in[2], out[2];

static int strict(void *arg)
{
	char c = 0;

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		return 1;
	while (read(in[0], &c, 1) == 1) {
		if (c == 'x')
			syscall(SYS_exit, 0);
		if (c == 'k')
			syscall(SYS_getpid);
		c++;
		if (write(out[1], &c, 1) != 1)
			break;
	}
	syscall(SYS_exit, 2);
	return 3;
}

static char ask(char c)
{
	CHECK_EQ(write(in[1], &c, 1), 1);
	CHECK_EQ(read(out[0], &c, 1), 1);
	return c;
}

int main(int argc, char **argv)
{
	pid_t pid[2];
	int status;

	kind_init(argc, argv);
	CHECK(!pipe(in) && !pipe(out));
	pid[0] = kind_fork(strict, NULL);
	CHECK_EQ(ask('1'), '2');
	pid[1] = kind_fork(strict, NULL);
	while (strcmp(kind_status(pid[1], "Seccomp"), "1") != 0)
		kind_sleep_ms(1);
	kind_ready();

	CHECK_STR(kind_status(pid[0], "Seccomp"), "1");
	CHECK_EQ(ask('3'), '4');
	CHECK_EQ(write(in[1], "k", 1), 1);
	CHECK_EQ(waitpid(-1, &status, 0) > 0, 1);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CHECK_EQ(write(in[1], "x", 1), 1);
	CHECK_EQ(waitpid(-1, &status, 0) > 0, 1);
	CHECK_EQ(status, 0);
	kind_pass();
}
