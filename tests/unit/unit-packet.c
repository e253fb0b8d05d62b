/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin packet with rings that somebody forged: refused before anything is made. */
#include "fake-host.h"

#include <string.h>
#include <sys/stat.h>

static const char *so;

/* Numbers of a record (packet.proto), from field 1 on. */
struct ring { uint64_t version, block_size, blocks, frame_size, frames, timeout, private_size,
	features, position, data; };
static const struct ring good = { 2, 4096, 4, 256, 64, 20, 0, 0, 3, 0 };

static void add_socket(struct fake *f, const struct ring *ring, unsigned protocol)
{
	const uint64_t *v = (const uint64_t *)ring;
	struct fake_bytes of_ring = { .len = 0 }, of_socket = { .len = 0 };

	for (unsigned i = 0; i < sizeof(*ring) / sizeof(*v); i++)
		fake_put_number(&of_ring, i + 1, v[i]);
	fake_put_number(&of_socket, 1, 1);
	fake_put_number(&of_socket, 2, 3); /* SOCK_RAW */
	fake_put_number(&of_socket, 3, protocol);
	fake_put_number(&of_socket, 9, S_IFSOCK | 0777);
	fake_put(&of_socket, 18, of_ring.v, of_ring.len);
	fake_add(f, "socket", &of_socket);
}

/* data: how many bytes there are of rings. */
static void load(const struct ring *ring, unsigned protocol, off_t data, int code)
{
	struct fake *f = fake_new(so);

	fake_open(f);
	assert_int_equal(ftruncate(f->blob, data), 0);
	add_socket(f, ring, protocol);
	assert_int_equal(fake_load(f), code);
	fake_free(f);
}

static void shapes(void **state)
{
	struct ring r;

	load(&good, 3, 16384, 0);
	load(&good, 0, 16384, -EBADMSG);
	r = good, r.version = 3;
	load(&r, 3, 16384, -EBADMSG);
	r = good, r.position = 4;
	load(&r, 3, 16384, -EBADMSG);
	r = good, r.version = 1, r.position = 63;
	load(&r, 3, 16384, 0);
	r.position = 64;
	load(&r, 3, 16384, -EBADMSG);
	r = good, r.frames = 65;
	load(&r, 3, 16384, -EBADMSG);
	r = good, r.frame_size = 0;
	load(&r, 3, 16384, -EBADMSG);
	r = good, r.private_size = 4096;
	load(&r, 3, 16384, -EBADMSG);
	r = good, r.blocks = 0, r.frames = 0, r.position = 0;
	load(&r, 3, 16384, -EBADMSG);
	r = good, r.blocks = 1u << 21, r.frames = r.blocks * 16;
	load(&r, 3, 16384, -EBADMSG);
}

static void contents(void **state)
{
	struct ring r = good;

	load(&r, 3, 16383, -EBADMSG);
	r.data = 100;
	load(&r, 3, 16384, -EBADMSG);
	load(&r, 3, 16484, 0);
	r.data = UINT64_MAX - 100;
	load(&r, 3, 16384, -EBADMSG);
}

static void mappings(void **state)
{
	struct fake_bytes b = { .len = 0 };
	struct fake *f = fake_new(so);

	fake_open(f);
	fake_put_number(&b, 1, 7); /* of no socket */
	fake_add(f, "mapping", &b);
	assert_int_equal(fake_load(f), -EBADMSG);
	fake_free(f);

	f = fake_new(so);
	fake_open(f);
	fake_put_number(&b, 2, 9); /* of one that there is none of */
	fake_add(f, "mapping", &b);
	assert_int_equal(fake_load(f), 0);
	assert_true(fake_create(f, 7) < 0);
	fake_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shapes), cmocka_unit_test(contents), cmocka_unit_test(mappings),
	};

	so = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
