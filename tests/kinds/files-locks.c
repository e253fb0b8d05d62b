/* SPDX-License-Identifier: Apache-2.0 */
/* Locks that belong to a description: flock(2) and open file description locks. */
#include "kind.h"
#include <sys/file.h>

int main(int argc, char **argv)
{
	struct flock range = { .l_type = F_WRLCK, .l_start = 10, .l_len = 5 }, ask = range;
	int a, b, other;

	kind_init(argc, argv);
	a = open(kind_path("a"), O_RDWR | O_CREAT, 0600);
	b = open(kind_path("b"), O_RDWR | O_CREAT, 0600);
	CHECK(!flock(a, LOCK_EX));
	CHECK(!fcntl(b, F_OFD_SETLK, &range));
	kind_ready();

	other = open(kind_path("a"), O_RDONLY);
	CHECK(flock(other, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK);
	CHECK(!flock(a, LOCK_UN));
	CHECK(!flock(other, LOCK_SH | LOCK_NB));
	other = open(kind_path("b"), O_RDWR);
	CHECK(!fcntl(other, F_OFD_GETLK, &ask));
	CHECK_EQ(ask.l_type, F_WRLCK);
	CHECK_EQ(ask.l_start, 10);
	CHECK_EQ(ask.l_len, 5);
	kind_pass();
}
