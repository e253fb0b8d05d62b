/* SPDX-License-Identifier: Apache-2.0 */
/* An address space limit below what is mapped already: the task can map nothing more. */
#include "kind.h"
#include <sys/mman.h>
#include <sys/resource.h>

int main(int argc, char **argv)
{
	struct rlimit want, now;

	kind_init(argc, argv);
	CHECK(!getrlimit(RLIMIT_AS, &want));
	want.rlim_cur = 1 << 20;
	CHECK(!setrlimit(RLIMIT_AS, &want));
	kind_ready();
	CHECK(!getrlimit(RLIMIT_AS, &now));
	CHECK_EQ(now.rlim_cur, want.rlim_cur);
	CHECK_EQ(now.rlim_max, want.rlim_max);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	kind_pass();
}
