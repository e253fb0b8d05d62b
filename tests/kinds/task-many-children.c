/* SPDX-License-Identifier: Apache-2.0 */
/* One parent with 60 children, pids with holes between them, reaped in any order. */
#include "kind.h"

enum { N = 60 };

static int child(void *arg)
{
	pid_t pid = getpid();

	kind_wait();
	CHECK_EQ(getpid(), pid);
	return (int)(long)arg;
}

static int nothing(void *arg)
{
	return 0;
}

int main(int argc, char **argv)
{
	pid_t pid[N];

	kind_init(argc, argv);
	for (long i = 0; i < N; i++) {
		pid[i] = kind_fork(child, (void *)(i + 1));
		kind_join(kind_fork(nothing, NULL));
	}
	kind_ready();
	for (int i = 0; i < N; i++) {
		int status, k = i * 7 % N; /* 7 and N have no common divisor: each once */

		CHECK_EQ(waitpid(pid[k], &status, 0), pid[k]);
		CHECK_EQ(status, (k + 1) << 8);
	}
	kind_pass();
}
