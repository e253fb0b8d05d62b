/* SPDX-License-Identifier: Apache-2.0 */
/* What ps shows: command line rewritten in place, environment, auxiliary vector, the
 * link to the executable, the name. */
#include "kind.h"
#include <sys/auxv.h>

static size_t slurp(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	CHECK(fd >= 0);
	n = read(fd, buf, len);
	CHECK(n >= 0);
	close(fd);
	return (size_t)n;
}

int main(int argc, char **argv)
{
	static const char *const files[] = { "/proc/self/cmdline", "/proc/self/environ",
	                                     "/proc/self/auxv", "/proc/self/comm" };
	static char before[4][65536], after[65536];
	size_t len[4];
	char exe[PATH_MAX], now[PATH_MAX];
	const void *random_bytes = (const void *)getauxval(AT_RANDOM);
	unsigned char bytes[16];
	ssize_t n;

	kind_init(argc, argv);
	memcpy(bytes, random_bytes, 16);
	memcpy(argv[0], "REWRITTEN", strlen(argv[0]) < 9 ? strlen(argv[0]) : 9);
	setenv("KIND_ADDED", "1", 1);
	CHECK(!prctl(PR_SET_NAME, "new name"));
	for (int i = 0; i < 4; i++)
		len[i] = slurp(files[i], before[i], sizeof(before[i]));
	n = readlink("/proc/self/exe", exe, sizeof(exe));
	CHECK(n > 0);
	kind_ready();
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(slurp(files[i], after, sizeof(after)), len[i]);
		CHECK(!memcmp(before[i], after, len[i]));
	}
	CHECK_EQ(readlink("/proc/self/exe", now, sizeof(now)), n);
	CHECK(!memcmp(exe, now, (size_t)n));
	CHECK_STR(getenv("KIND_ADDED"), "1");
	CHECK((const void *)getauxval(AT_RANDOM) == random_bytes && !memcmp(bytes, random_bytes, 16));
	kind_pass();
}
