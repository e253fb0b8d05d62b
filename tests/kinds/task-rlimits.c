/* SPDX-License-Identifier: Apache-2.0 */
/* All sixteen resource limits, soft and hard, also below what is in use. */
#include "kind.h"
#include <sys/resource.h>

static volatile int *ready;

static int child(void *arg)
{
	struct rlimit want[RLIM_NLIMITS], now;

	for (int i = 0; i < RLIM_NLIMITS; i++) {
		CHECK(!getrlimit((__rlimit_resource_t)i, &want[i]));
		if (i == RLIMIT_NOFILE)
			want[i] = (struct rlimit){ 2, 17 }; /* fewer than are open */
		else if (i == RLIMIT_STACK)
			want[i].rlim_cur = 3 << 20;
		else if (i == RLIMIT_CORE || i == RLIMIT_NICE || i == RLIMIT_RTPRIO)
			want[i] = (struct rlimit){ 0, 0 };
		else if (i == RLIMIT_AS)
			want[i].rlim_cur = 1 << 30;
		else if (i == RLIMIT_NPROC)
			want[i] = (struct rlimit){ 1, 2 };
		else if (i == RLIMIT_MEMLOCK)
			want[i] = (struct rlimit){ 0, 4096 };
		else if (i != RLIMIT_CPU && i != RLIMIT_FSIZE && i != RLIMIT_DATA)
			want[i].rlim_cur = want[i].rlim_cur / 2;
		CHECK(!setrlimit((__rlimit_resource_t)i, &want[i]));
	}
	*ready = 1;
	kind_wait();
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		CHECK(!getrlimit((__rlimit_resource_t)i, &now));
		if (now.rlim_cur != want[i].rlim_cur || now.rlim_max != want[i].rlim_max)
			kind_fail("limit %d is %ld and %ld, not %ld and %ld", i, (long)now.rlim_cur,
			          (long)now.rlim_max, (long)want[i].rlim_cur, (long)want[i].rlim_max);
	}
	return 0;
}

int main(int argc, char **argv)
{
	pid_t pid;

	kind_init(argc, argv);
	ready = kind_shared(4096);
	pid = kind_fork(child, NULL);
	kind_until(ready, 1);
	kind_ready();
	kind_join(pid);
	kind_pass();
}
