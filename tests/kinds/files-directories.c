/* SPDX-License-Identifier: Apache-2.0 */
/* Directories: half read, the current one, deleted ones, by O_PATH. */
#include "kind.h"
#include <dirent.h>

enum { FILES = 200 };

int main(int argc, char **argv)
{
	bool seen[FILES] = { false };
	char cwd[PATH_MAX], name[PATH_MAX], link[PATH_MAX];
	int path, gone, n = 0;
	struct dirent *e;
	struct stat st;
	ssize_t len;
	DIR *d;

	kind_init(argc, argv);
	CHECK(!mkdir(kind_path("full"), 0755) && !mkdir(kind_path("gone"), 0711));
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "full/%d", i);
		close(creat(kind_path(name), 0600));
	}
	d = opendir(kind_path("full"));
	while (n < FILES / 2 && (e = readdir(d)))
		if (e->d_name[0] != '.')
			seen[atoi(e->d_name)] = ++n;
	path = open(kind_path("full"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	gone = open(kind_path("gone"), O_RDONLY | O_DIRECTORY);
	CHECK(!chdir(kind_path("gone")));
	CHECK(getcwd(cwd, sizeof(cwd)) != NULL);
	CHECK(!rmdir(kind_path("gone")));
	kind_ready();

	while ((e = readdir(d)))
		if (e->d_name[0] != '.') {
			CHECK(!seen[atoi(e->d_name)]);
			seen[atoi(e->d_name)] = ++n;
		}
	CHECK_EQ(n, FILES);
	CHECK(!fstatat(path, "17", &st, 0));
	CHECK_EQ(fcntl(path, F_GETFL) & O_PATH, O_PATH);
	len = readlink("/proc/self/cwd", link, sizeof(link) - 1);
	link[len < 0 ? 0 : len] = '\0';
	CHECK(!strncmp(link, cwd, strlen(cwd)));
	CHECK_STR(link + strlen(cwd), " (deleted)");
	CHECK(creat("x", 0600) < 0);
	CHECK(!fstat(gone, &st));
	CHECK_EQ(st.st_mode, S_IFDIR | 0711);
	kind_pass();
}
