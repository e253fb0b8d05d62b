/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin udp, with a host of the test: records that are damaged. */
#include "fake-host.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static const char *so;

static int bound(int family, struct sockaddr_in6 *ret)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(*ret);
	int fd = socket(family, SOCK_DGRAM, 0);

	memset(ret, 0, sizeof(*ret));
	assert_true(fd >= 0);
	/* The fake host keeps it open: the address is to be free all the same. */
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)), 0);
	if (family == AF_INET)
		assert_int_equal(bind(fd, (struct sockaddr *)&v4, sizeof(v4)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &len), 0);
	return fd;
}

static void test_damage(void **state)
{
	struct fake *f = fake_new(so);
	struct sockaddr_in6 to, none;
	struct sockaddr_in *v4 = (void *)&to;
	int a = bound(AF_INET, &to), b = bound(AF_INET, &none), c = bound(AF_INET6, &none);

	fake_open(f);
	assert_int_equal(sendto(b, "hello", 5, 0, (struct sockaddr *)v4, sizeof(*v4)), 5);
	assert_int_equal(sendto(b, "", 0, 0, (struct sockaddr *)v4, sizeof(*v4)), 0);
	assert_int_equal(setsockopt(c, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, sizeof(int)), 0);
	assert_int_equal(connect(b, (struct sockaddr *)v4, sizeof(*v4)), 0);
	fake_object(f, a), fake_object(f, b), fake_object(f, c);
	assert_int_equal(fake_save(f), 0);
	assert_int_equal(f->nrecords, 3);
	close(a), close(b), close(c);
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
	assert_true(fake_damage(f, 3000) > 300);
	fake_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_damage) };

	if (argc < 2)
		return 2;
	so = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
