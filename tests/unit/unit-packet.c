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

static size_t put(unsigned char *at, uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		at[n++] = (unsigned char)(v | 0x80);
	at[n++] = (unsigned char)v;
	return n;
}

static size_t put_field(unsigned char *at, unsigned number, uint64_t v)
{
	size_t n = put(at, number << 3);

	return n + put(at + n, v);
}

static void add_record(struct fake *f, const char *section, const unsigned char *bytes, size_t len)
{
	struct fake_record *r = &f->records[f->nrecords++];

	strcpy(r->section, section);
	r->msg = memcpy(malloc(len), bytes, len);
	r->len = len;
}

static void add_socket(struct fake *f, const struct ring *ring, unsigned protocol)
{
	const uint64_t *v = (const uint64_t *)ring;
	unsigned char of_ring[200], of_socket[300];
	size_t inner = 0, n = 0;

	for (unsigned i = 0; i < sizeof(*ring) / sizeof(*v); i++)
		inner += put_field(of_ring + inner, i + 1, v[i]);
	n += put_field(of_socket + n, 1, 1);
	n += put_field(of_socket + n, 2, 3); /* SOCK_RAW */
	n += put_field(of_socket + n, 3, protocol);
	n += put_field(of_socket + n, 9, S_IFSOCK | 0777);
	n += put(of_socket + n, 18 << 3 | 2);
	n += put(of_socket + n, inner);
	memcpy(of_socket + n, of_ring, inner);
	add_record(f, "socket", of_socket, n + inner);
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
	const unsigned char of_nothing[] = { 0x08, 7 }, of_missing[] = { 0x08, 7, 0x10, 9 };
	struct fake *f = fake_new(so);

	fake_open(f);
	add_record(f, "mapping", of_nothing, sizeof(of_nothing));
	assert_int_equal(fake_load(f), -EBADMSG);
	fake_free(f);

	f = fake_new(so);
	fake_open(f);
	add_record(f, "mapping", of_missing, sizeof(of_missing));
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
