/* SPDX-License-Identifier: Apache-2.0 */
/* Less usual ways to open: O_PATH of a link, a socket, a FIFO; O_DIRECT, O_SYNC; large
 * offsets, sparse files; a renamed and a replaced file; a file of a parent in /proc. */
#include "kind.h"
#include <sys/socket.h>
#include <sys/un.h>

static int child(void *arg)
{
	char path[64], buf[4096] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", getppid());
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0);
	*(volatile int *)arg = 1;
	kind_wait();
	CHECK(read(fd, buf, sizeof(buf) - 1) > 0);
	CHECK_EQ(atoi(buf), getppid());
	return 0;
}

static void path_is(int fd, mode_t type)
{
	struct stat st;

	CHECK_EQ(fcntl(fd, F_GETFL) & O_PATH, O_PATH);
	CHECK(!fstat(fd, &st));
	CHECK_EQ(st.st_mode & S_IFMT, type);
}

int main(int argc, char **argv)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int link_fd, fifo, sock_path, sock, direct, sync_fd, large, renamed, replaced;
	volatile int *step;
	char buf[64] = "";
	struct stat st;
	pid_t pid;

	kind_init(argc, argv);
	step = kind_shared(4096);
	pid = kind_fork(child, (void *)step);
	kind_until(step, 1);
	CHECK(!symlink("nowhere", kind_path("link")) && !mkfifo(kind_path("fifo"), 0600));
	link_fd = open(kind_path("link"), O_PATH | O_NOFOLLOW);
	fifo = open(kind_path("fifo"), O_PATH | O_CLOEXEC);
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", kind_path("sock"));
	CHECK(!bind(sock, (void *)&name, sizeof(name)));
	close(sock);
	sock_path = open(kind_path("sock"), O_PATH);
	CHECK(link_fd >= 0 && fifo >= 0 && sock_path >= 0);
	direct = open(kind_path("direct"), O_RDWR | O_CREAT | O_DIRECT, 0600);
	sync_fd = open(kind_path("sync"), O_WRONLY | O_CREAT | O_SYNC, 0600);
	large = open(kind_path("large"), O_RDWR | O_CREAT, 0600);
	CHECK_EQ(pwrite(large, "far", 3, 1ll << 40), 3);
	CHECK_EQ(lseek(large, (1ll << 41) + 1, SEEK_SET), (1ll << 41) + 1);
	renamed = open(kind_path("old name"), O_RDWR | O_CREAT, 0600);
	CHECK_EQ(write(renamed, "renamed", 7), 7);
	CHECK(!rename(kind_path("old name"), kind_path("new name (deleted)")));
	replaced = open(kind_path("replaced"), O_RDWR | O_CREAT, 0600);
	CHECK_EQ(write(replaced, "the old one", 11), 11);
	close(creat(kind_path("other"), 0600));
	CHECK(!rename(kind_path("other"), kind_path("replaced")));
	kind_busy(); /* what has lost its name to another has another name afterwards */
	kind_ready();

	kind_join(pid);
	path_is(link_fd, S_IFLNK);
	CHECK_EQ(readlinkat(link_fd, "", buf, sizeof(buf) - 1), 7);
	CHECK_STR(buf, "nowhere");
	path_is(fifo, S_IFIFO);
	CHECK_EQ(fcntl(fifo, F_GETFD), FD_CLOEXEC);
	path_is(sock_path, S_IFSOCK);
	CHECK(direct < 0 || fcntl(direct, F_GETFL) & O_DIRECT);
	CHECK_EQ(fcntl(sync_fd, F_GETFL) & O_SYNC, O_SYNC);
	CHECK_EQ(lseek(large, 0, SEEK_CUR), (1ll << 41) + 1);
	CHECK_EQ(lseek(large, 0, SEEK_DATA), 1ll << 40);
	CHECK_EQ(pread(renamed, buf, 7, 0), 7);
	CHECK(!memcmp(buf, "renamed", 7));
	CHECK(!fstat(replaced, &st));
	CHECK_EQ(st.st_nlink, 0);
	CHECK_EQ(pread(replaced, buf, 11, 0), 11);
	CHECK(!memcmp(buf, "the old one", 11));
	CHECK(!stat(kind_path("replaced"), &st));
	CHECK_EQ(st.st_size, 0);
	kind_pass();
}
