/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin sockets, with a host of the test: records that are damaged. */
#include "fake-host.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static const char *so;

static void test_damage(void **state)
{
	struct fake *f = fake_new(so);
	struct sockaddr_un none = { .sun_family = AF_UNIX };
	int pair[2], listens = socket(AF_UNIX, SOCK_STREAM, 0), gone[2], packets[2];

	fake_open(f);
	assert_true(listens >= 0);
	assert_int_equal(bind(listens, (struct sockaddr *)&none, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(listens, 5), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, gone), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets), 0);
	assert_int_equal(write(pair[0], "bytes", 5), 5);
	assert_int_equal(write(packets[0], "one", 3), 3);
	assert_int_equal(write(packets[0], "two", 3), 3);
	assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int)), 0);
	close(gone[1]);
	fake_object(f, pair[0]), fake_object(f, pair[1]), fake_object(f, listens), fake_object(f, gone[0]);
	fake_object(f, packets[0]), fake_object(f, packets[1]);
	assert_int_equal(fake_save(f), 0);
	assert_int_equal(f->nrecords, 6);
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
	assert_true(fake_damage(f, 3000) > 300);
	close(pair[0]), close(pair[1]), close(listens), close(gone[0]), close(packets[0]), close(packets[1]);
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
