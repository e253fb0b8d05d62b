/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every plugin, with a host of the test: records that are damaged, or that no dump would write,
 * are loaded and checked. An image may come from somebody who means harm, so whatever is in one
 * must be refused or make sense; none may crash (a build with sanitizers looks closer).
 */
#include "fake-host.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <linux/netlink.h>

static const char *so;
static struct fake *f;
static int fds[16];
static unsigned nfds;

static int keep(int fd)
{
	assert_in_range(fd, 0, 1023);
	assert_in_range(nfds, 0, 15);
	return fds[nfds++] = fd;
}

static void keep_pair(int type)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, type, 0, pair), 0);
	keep(pair[0]), keep(pair[1]);
	assert_int_equal(write(pair[0], "one", 3), 3);
	assert_int_equal(write(pair[0], "two", 3), 3);
}

/* -- what to save, by plugin ------------------------------------------------------------- */

static void make_sockets(void)
{
	struct sockaddr_un none = { .sun_family = AF_UNIX };
	int listens = keep(socket(AF_UNIX, SOCK_STREAM, 0)), gone[2];

	assert_int_equal(bind(listens, (struct sockaddr *)&none, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(listens, 5), 0);
	keep_pair(SOCK_STREAM);
	keep_pair(SOCK_SEQPACKET);
	assert_int_equal(setsockopt(fds[2], SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int)), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, gone), 0);
	keep(gone[0]);
	close(gone[1]);
}

static int bound(int family, int type, struct sockaddr_in6 *ret)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(*ret);
	int fd = keep(socket(family, type, 0));

	memset(ret, 0, sizeof(*ret));
	/* The fake host keeps it open: the address is to be free all the same. */
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)), 0);
	if (family == AF_INET)
		assert_int_equal(bind(fd, (struct sockaddr *)&v4, sizeof(v4)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &len), 0);
	return fd;
}

static void make_udp(void)
{
	struct sockaddr_in6 to, none;
	struct sockaddr_in *v4 = (void *)&to;

	bound(AF_INET, SOCK_DGRAM, &to);
	int b = bound(AF_INET, SOCK_DGRAM, &none), c = bound(AF_INET6, SOCK_DGRAM, &none);
	assert_int_equal(sendto(b, "hello", 5, 0, (struct sockaddr *)v4, sizeof(*v4)), 5);
	assert_int_equal(sendto(b, "", 0, 0, (struct sockaddr *)v4, sizeof(*v4)), 0);
	assert_int_equal(setsockopt(c, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, sizeof(int)), 0);
	assert_int_equal(connect(b, (struct sockaddr *)v4, sizeof(*v4)), 0);
}

static void make_netlink(void)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK, .nl_groups = 1 };

	keep(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	assert_int_equal(bind(fds[0], (struct sockaddr *)&own, sizeof(own)), 0);
	keep(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_GENERIC));
}

static void make_events(void)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 7 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	keep(eventfd(3, EFD_SEMAPHORE));
	keep(timerfd_create(CLOCK_MONOTONIC, 0));
	keep(signalfd(-1, &set, 0));
	keep(epoll_create1(0));
	assert_int_equal(epoll_ctl(fds[3], EPOLL_CTL_ADD, fds[0], &ev), 0);
	keep(inotify_init1(0));
	assert_true(inotify_add_watch(fds[4], "/", IN_CREATE) > 0);
}

static void make_pipes(void)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	keep(ends[0]), keep(ends[1]);
	assert_int_equal(write(ends[1], "bytes", 5), 5);
}

static void make_ttys(void)
{
	int zero = 0, master = posix_openpt(O_RDWR | O_NOCTTY);

	if (master < 0)
		return; /* no devpts here */
	keep(master);
	fake_option(f, "renumber", (struct crcore_value){ .b = true }); /* ours stays open */
	assert_int_equal(ioctl(master, TIOCSPTLCK, &zero), 0);
	keep(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY));
	assert_int_equal(write(master, "line\n", 5), 5);
}

static void make_files(void)
{
	char gone[] = "/tmp/crcore-damage-XXXXXX";

	keep(open("/dev/null", O_RDWR));
	keep(open("/", O_RDONLY | O_DIRECTORY));
	keep(memfd_create("memory", MFD_ALLOW_SEALING));
	assert_int_equal(write(fds[2], "bytes", 5), 5);
	keep(mkstemp(gone));
	unlink(gone);
}

static const struct {
	const char *plugin;
	void (*make)(void);
} makers[] = {
	{ "sockets", make_sockets }, { "udp", make_udp }, { "netlink", make_netlink },
	{ "events", make_events }, { "pipes", make_pipes }, { "ttys", make_ttys },
	{ "files", make_files },
};

/* Of what was saved. */
static void test_damage(void **state)
{
	f = fake_new(so);
	for (unsigned i = 0; i < sizeof(makers) / sizeof(*makers); i++)
		if (!strcmp(makers[i].plugin, f->plugin->name))
			makers[i].make();
	fake_open(f);
	for (unsigned i = 0; i < nfds; i++)
		fake_object(f, fds[i]);
	if (nfds) {
		if (fake_save(f) < 0)
			fail_msg("%s", f->err.message);
		assert_true(f->nrecords >= nfds);
		for (unsigned i = 0; i < nfds; i++)
			close(fds[i]);
		fake_reopen(f);
		if (fake_load(f) < 0)
			fail_msg("%s", f->err.message);
		assert_true(fake_damage(f, 3000) > 300);
	}
	fake_free(f);
}

/* Of nothing: one record of each section, in which all is forged. */
static void test_forged(void **state)
{
	f = fake_new(so);
	const struct crcore_section *s = f->plugin->sections;

	fake_open(f);
	f->nrecords = s && f->plugin->load_record ? 1 : 0;
	for (; f->nrecords && s->name; s++) {
		snprintf(f->records[0].section, sizeof(f->records[0].section), "%s", s->name);
		f->records[0].msg = NULL;
		f->records[0].len = 0;
		fake_damage(f, 3000);
	}
	fake_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_damage), cmocka_unit_test(test_forged),
	};

	if (argc < 2)
		return 2;
	so = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
