/* SPDX-License-Identifier: Apache-2.0 */
/* The guide's undo entry, wherever crcore is killed: no record is lost, none comes twice. */
#include "docs/examples/kmsg.c"

#include <stdio.h>

/* A description that has read some records, and whose next one is *ret. */
static int reader(uint64_t *ret)
{
	int fd = open("/dev/kmsg", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i < 4; i++)
		if (write(fd, "crcore test\n", 12) != 12)
			return -1;
	if (fd < 0 || read_number(fd, ret) < 0 || read_number(fd, ret) < 0)
		return -1;
	++*ret;
	return fd;
}

static bool undone(bool passed)
{
	static struct state s;
	uint64_t next, got, ignored;
	int fd = reader(&next);

	if (fd < 0)
		exit(77);
	memset(&s, 0, sizeof(s));
	s.moved_fd = dup(fd);
	if (passed && read_record(fd, s.passed, &ignored) < 0)
		return false;
	put_back(&s);
	bool ok = read_number(fd, &got) == 0 && got == next;
	if (!ok)
		fprintf(stderr, "the reader gets record %" PRIu64 " instead of %" PRIu64 "\n", got, next);
	close(fd);
	return ok;
}

int main(void)
{
	return undone(false) && undone(true) ? 0 : 1; /* before the look, and just after it */
}
