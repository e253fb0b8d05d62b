/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets with names: listening ones with connections that wait, accepted ones, files and none. */
#include "kind.h"

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_un at(const char *path, socklen_t *ret_len)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + (path[0] == '/'));
	if (a.sun_path[0] == '@')
		a.sun_path[0] = '\0';
	return a;
}

static int listener(const char *path, int type)
{
	socklen_t len;
	struct sockaddr_un a = at(path, &len);
	int fd = socket(AF_UNIX, type, 0);

	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&a, len) && !listen(fd, 7));
	return fd;
}

static int client(const char *path, int type)
{
	socklen_t len;
	struct sockaddr_un a = at(path, &len);
	int fd = socket(AF_UNIX, type, 0);

	CHECK(fd >= 0);
	CHECK(!connect(fd, (struct sockaddr *)&a, len));
	return fd;
}

static void talk(int a, int b)
{
	char buf[8] = "";

	CHECK_EQ(write(a, "ping", 4), 4);
	CHECK_EQ(read(b, buf, 8), 4);
	CHECK_EQ(write(b, "pong!", 5), 5);
	CHECK_EQ(read(a, buf, 8), 5);
	CHECK_STR(buf, "pong!");
}

static void check_name(int fd, bool peer, const char *want)
{
	struct sockaddr_un a = { 0 };
	socklen_t len = sizeof(a);

	CHECK(!(peer ? getpeername(fd, (struct sockaddr *)&a, &len)
	             : getsockname(fd, (struct sockaddr *)&a, &len)));
	if (len > sizeof(sa_family_t) && !a.sun_path[0])
		a.sun_path[0] = '@';
	CHECK_STR(a.sun_path, want);
}

int main(int argc, char **argv)
{
	char path[100], hidden[100], ready[100];
	struct sockaddr_un none = { .sun_family = AF_UNIX };
	int l, c, s, c2, s2, w[2], abstract, ac, as, un, uc, us, old, oc, os, one = 1;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct stat st;

	kind_init(argc, argv);
	snprintf(path, sizeof(path), "%s", kind_path("listening"));
	snprintf(hidden, sizeof(hidden), "%s", kind_path("unlinked"));
	snprintf(ready, sizeof(ready), "%s", kind_path("closed"));
	l = listener(path, SOCK_STREAM);
	CHECK(!chmod(path, 0623) && !chown(path, 12, 34));
	c = client(path, SOCK_STREAM), s = accept(l, NULL, NULL);
	CHECK(!setegid(77) && !seteuid(66)); /* who connects is noted */
	CHECK(!seteuid(0) && !setegid(0) && !chmod(path, 0666) && !setegid(77) && !seteuid(66));
	c2 = client(path, SOCK_STREAM), s2 = accept(l, NULL, NULL);
	CHECK(!seteuid(0) && !setegid(0) && !chmod(path, 0623));
	for (int i = 0; i < 2; i++)
		w[i] = client(path, SOCK_STREAM);
	CHECK(!setsockopt(w[1], SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)));
	CHECK_EQ(write(c, "queued", 6), 6);
	abstract = listener("@crcore-kind-sockets", SOCK_SEQPACKET);
	ac = client("@crcore-kind-sockets", SOCK_SEQPACKET), as = accept(abstract, NULL, NULL);
	un = listener(hidden, SOCK_STREAM);
	uc = client(hidden, SOCK_STREAM), us = accept(un, NULL, NULL);
	CHECK(!unlink(hidden));
	old = listener(ready, SOCK_STREAM);
	oc = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(!bind(oc, (struct sockaddr *)&none, sizeof(sa_family_t))); /* a name of the kernel's choice */
	struct sockaddr_un own, to = at(ready, &len);
	socklen_t own_len = sizeof(own);
	CHECK(!getsockname(oc, (struct sockaddr *)&own, &own_len) && own.sun_path[0] == '\0');
	CHECK(!connect(oc, (struct sockaddr *)&to, len));
	os = accept(old, NULL, NULL);
	close(old);
	kind_ready();

	char buf[8] = "";
	CHECK_EQ(read(s, buf, 6), 6);
	CHECK_STR(buf, "queued");
	talk(c, s), talk(c2, s2), talk(ac, as), talk(uc, us), talk(oc, os);
	check_name(l, false, path), check_name(c, true, path), check_name(s, false, path);
	check_name(s, true, ""), check_name(ac, true, "@crcore-kind-sockets");
	check_name(us, false, hidden), check_name(un, false, hidden), check_name(os, false, ready);
	CHECK(stat(hidden, &st) < 0 && errno == ENOENT);
	CHECK(!stat(path, &st) && (st.st_mode & 07777) == 0623 && st.st_uid == 12 && st.st_gid == 34);
	struct sockaddr_un now;
	len = sizeof(now);
	CHECK(!getsockname(oc, (struct sockaddr *)&now, &len) && len == own_len && !memcmp(&now, &own, len));
	len = sizeof(cred);
	CHECK(!getsockopt(s2, SOL_SOCKET, SO_PEERCRED, &cred, &len));
	CHECK_EQ(cred.uid, 66);
	CHECK_EQ(cred.gid, 77);
	for (int i = 0; i < 2; i++) { /* in the order in which they connected */
		int fd = accept(l, NULL, NULL);
		CHECK(fd >= 0);
		len = sizeof(cred);
		CHECK(!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len));
		CHECK(cred.pid == getpid() && cred.uid == getuid());
		talk(w[i], fd);
	}
	CHECK(fcntl(l, F_SETFL, O_NONBLOCK) == 0 && accept(l, NULL, NULL) < 0 && errno == EAGAIN);
	int fresh = client(path, SOCK_STREAM), fd = accept(l, NULL, NULL);
	talk(fresh, fd);
	kind_pass();
}
