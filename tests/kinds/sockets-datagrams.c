/* SPDX-License-Identifier: Apache-2.0 */
/* Datagram sockets: messages of several senders, connected one way, both ways, to a closed one. */
#include "kind.h"

#include <sys/socket.h>
#include <sys/un.h>

static int make(const char *name, struct sockaddr_un *ret, socklen_t *ret_len)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	snprintf(ret->sun_path, sizeof(ret->sun_path), "%s", name);
	*ret_len = (socklen_t)(sizeof(sa_family_t) + strlen(name) + (name[0] != '@'));
	if (name[0] == '@')
		ret->sun_path[0] = '\0';
	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)ret, *ret_len));
	return fd;
}

static void receive(int fd, const char *want, const char *from)
{
	struct sockaddr_un a = { 0 };
	socklen_t len = sizeof(a);
	char buf[64] = "";

	CHECK_EQ(recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&a, &len), strlen(want));
	CHECK_STR(buf, want);
	if (len > sizeof(sa_family_t) && !a.sun_path[0])
		a.sun_path[0] = '@';
	CHECK_STR(a.sun_path, from);
}

int main(int argc, char **argv)
{
	struct sockaddr_un at, ba, ga, ra;
	socklen_t al, bl, gl, rl;
	char path[100];
	int a, b, oneway, gone, to_gone, relative, nameless;

	kind_init(argc, argv);
	snprintf(path, sizeof(path), "%s", kind_path("datagram"));
	a = make(path, &at, &al);
	b = make("@crcore-kind-datagram", &ba, &bl);
	CHECK(!chdir(kind_path(".")));
	relative = make("relative", &ra, &rl);
	oneway = socket(AF_UNIX, SOCK_DGRAM, 0);
	nameless = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(!connect(oneway, (struct sockaddr *)&ra, rl));
	CHECK_EQ(send(oneway, "oneway", 6, 0), 6);
	CHECK_EQ(sendto(b, "from b", 6, 0, (struct sockaddr *)&ra, rl), 6);
	CHECK_EQ(sendto(nameless, "early", 5, 0, (struct sockaddr *)&at, al), 5);
	CHECK(!connect(a, (struct sockaddr *)&ba, bl) && !connect(b, (struct sockaddr *)&at, al));
	CHECK_EQ(send(b, "late", 4, 0), 4);
	gone = make("@crcore-kind-gone", &ga, &gl);
	to_gone = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(!connect(to_gone, (struct sockaddr *)&ga, gl));
	CHECK_EQ(sendto(gone, "parting", 7, 0, (struct sockaddr *)&ra, rl), 7);
	close(gone);
	kind_ready();

	receive(relative, "oneway", "");
	receive(relative, "from b", "@crcore-kind-datagram");
	receive(relative, "parting", "@crcore-kind-gone");
	receive(a, "early", "");
	receive(a, "late", "@crcore-kind-datagram");
	CHECK_EQ(send(a, "answer", 6, 0), 6);
	receive(b, "answer", path);
	CHECK(sendto(nameless, "no", 2, 0, (struct sockaddr *)&at, al) < 0 && errno == EPERM);
	CHECK(send(to_gone, "x", 1, 0) < 0 && errno == ECONNREFUSED);
	CHECK(send(to_gone, "x", 1, 0) < 0 && errno == ENOTCONN);
	CHECK_EQ(send(oneway, "again", 5, 0), 5);
	receive(relative, "again", "");
	kind_pass();
}
