/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network lock where nftables cannot be used: a small program at each network
 * device, on the way in and on the way out, drops what belongs to a connection of a
 * list. While crcore works the programs hang on links, which the kernel takes away with
 * the process, whatever ends that; those that stay are attached by name.
 *
 * Devices that appear later are not covered.
 */
#include "plugins/tcp/block.h"
#include "plugins/tcp/bpf.h"
#include "plugins/tcp/tcp.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>

#define WAYS 2
static const uint32_t attach[WAYS] = { TCX_INGRESS, TCX_EGRESS };
#define DROP 2     /* TCX_DROP */
#define PROGRAMS 64 /* of others, at one device */

struct block {
	int *links;
	unsigned n;
};

/* As the programs look it up: addresses of IPv4 are mapped ones. */
struct key {
	uint8_t local[16], remote[16];
	uint16_t local_port, remote_port;
};
_Static_assert(sizeof(struct key) == 36, "struct key");

/* -- the program --------------------------------------------------------------------------- */

enum { V4 = 1, V6, PORTS, PASS };

/* Places on its stack. */
#define KEY (-40)
#define HEADER (-80)
#define PORT (-88)

static void copy(struct code *c, int size, int to, int from)
{
	load(c, size, 0, 10, from);
	store(c, size, 10, to, 0);
}

static void load_header(struct code *c, int len, int protocol_at)
{
	set(c, 2, 0);
	load_bytes(c, HEADER, len, PASS);
	load(c, BPF_B, 0, 10, HEADER + protocol_at);
	jump(c, BPF_JNE, 0, IPPROTO_TCP, PASS);
}

static void write_v4(struct code *c, bool in)
{
	label_here(c, V4);
	load_header(c, 20, 9);
	set(c, 0, 0xffff);
	store(c, BPF_H, 10, KEY + 10, 0);
	store(c, BPF_H, 10, KEY + 26, 0);
	copy(c, BPF_W, KEY + 12, HEADER + (in ? 16 : 12));
	copy(c, BPF_W, KEY + 28, HEADER + (in ? 12 : 16));
	load(c, BPF_B, 7, 10, HEADER); /* how long the header is */
	op(c, BPF_ALU64 | BPF_AND | BPF_K, 7, 0, 0, 15);
	op(c, BPF_ALU64 | BPF_LSH | BPF_K, 7, 0, 0, 2);
	jump(c, BPF_JA, 0, 0, PORTS);
}

static void write_v6(struct code *c, bool in)
{
	label_here(c, V6);
	load_header(c, 40, 6);
	for (int i = 0; i < 16; i += 8) {
		copy(c, BPF_DW, KEY + i, HEADER + (in ? 24 : 8) + i);
		copy(c, BPF_DW, KEY + 16 + i, HEADER + (in ? 8 : 24) + i);
	}
	set(c, 7, 40);
}

static void write_lookup(struct code *c, int map, bool in)
{
	label_here(c, PORTS);
	move(c, 2, 7);
	load_bytes(c, PORT, 4, PASS);
	copy(c, BPF_H, KEY + 32, PORT + (in ? 2 : 0));
	copy(c, BPF_H, KEY + 34, PORT + (in ? 0 : 2));
	point_to_map(c, 1, map);
	point(c, 2, KEY);
	call(c, BPF_FUNC_map_lookup_elem);
	jump(c, BPF_JEQ, 0, 0, PASS);
	leave(c, DROP);
	label_here(c, PASS);
	leave(c, TCX_GO_ON);
}

static void write_program(struct code *c, int map, bool in)
{
	*c = (struct code){ .n = 0 };
	move(c, 6, 1);
	load(c, BPF_W, 0, 6, offsetof(struct __sk_buff, mark));
	jump(c, BPF_JEQ, 0, LOCK_MARK, PASS);
	set(c, 0, 0);
	for (int i = 0; i < 40; i += 8)
		store(c, BPF_DW, 10, KEY + i, 0);
	load(c, BPF_W, 0, 6, offsetof(struct __sk_buff, protocol));
	jump(c, BPF_JEQ, 0, htons(0x0800), V4);
	jump(c, BPF_JEQ, 0, htons(0x86dd), V6);
	jump(c, BPF_JA, 0, 0, PASS);
	write_v4(c, in);
	write_v6(c, in);
	write_lookup(c, map, in);
}

static int load_program(int map, bool in, const char *name)
{
	struct code c;

	write_program(&c, map, in);
	return load_at_device(&c, attach[!in], "Apache-2.0", name);
}

/* -- the list ------------------------------------------------------------------------------ */

static void map_address(const struct end *e, uint8_t ret[16])
{
	if (!end_is_v4(e)) {
		memcpy(ret, e->ip, 16);
		return;
	}
	memset(ret, 0, 10);
	memset(ret + 10, 0xff, 2);
	memcpy(ret + 12, end_v4(e), 4);
}

static int make_map(const struct lock_list *l)
{
	union bpf_attr a = { .map_type = BPF_MAP_TYPE_HASH, .key_size = sizeof(struct key),
		.value_size = 1, .max_entries = l->n ? l->n : 1 };
	int map = bpf(BPF_MAP_CREATE, &a), r = 0;
	uint8_t there = 1;

	for (unsigned i = 0; map >= 0 && !r && i < l->n; i++) {
		struct key key = { .local_port = htons(l->v[i].local.port),
			.remote_port = htons(l->v[i].remote.port) };
		map_address(&l->v[i].local, key.local);
		map_address(&l->v[i].remote, key.remote);
		a = (union bpf_attr){ .map_fd = (uint32_t)map, .key = (uintptr_t)&key,
			.value = (uintptr_t)&there };
		r = bpf(BPF_MAP_UPDATE_ELEM, &a);
	}
	if (r < 0)
		close(map);
	return r < 0 ? r : map;
}

/* -- at the devices ------------------------------------------------------------------------ */

static int hang(struct block *b, int program, unsigned device, uint32_t way)
{
	union bpf_attr a = { .link_create = { .prog_fd = (uint32_t)program, .target_ifindex = device,
		.attach_type = way } };
	int link;

	if (!GROW(b->links, b->n))
		return -ENOMEM;
	link = bpf(BPF_LINK_CREATE, &a);
	if (link >= 0)
		b->links[b->n++] = link;
	return link < 0 ? link : 0;
}

static int stay(int program, unsigned device, uint32_t way, int command)
{
	union bpf_attr a = { .target_fd = device, .attach_bpf_fd = (uint32_t)program,
		.attach_type = way };

	return bpf(command, &a);
}

/* b: links of ours; NULL: so that they stay. */
static int put_up(struct block *b, const struct lock_list *l, const char *name)
{
	struct if_nameindex *devices = if_nameindex();
	cleanup_close int map = devices ? make_map(l) : -ENOMEM;
	int r = map < 0 ? map : 0;

	for (int way = 0; !r && way < WAYS; way++) {
		cleanup_close int program = load_program(map, way == 0, name);
		r = program < 0 ? program : 0;
		for (struct if_nameindex *d = devices; !r && d->if_index; d++)
			r = b ? hang(b, program, d->if_index, attach[way])
			      : stay(program, d->if_index, attach[way], BPF_PROG_ATTACH);
	}
	if (devices)
		if_freenameindex(devices);
	return r;
}

void block_free(struct block *b)
{
	for (unsigned i = 0; b && i < b->n; i++)
		close(b->links[i]);
	if (b)
		free(b->links);
	free(b);
}

static int failed(int r, struct crcore_error *err)
{
	crcore_advise(err, "install libnftables (Debian: libnftables1), or have the connections "
	              "closed");
	return crcore_fail(err, r, "the network lock can be put up neither by nftables nor by programs "
	                   "at network devices: %s", strerror(-r));
}

int block_take(const struct lock_list *l, struct block **ret, struct crcore_error *err)
{
	struct block *b = calloc(1, sizeof(*b));
	int r = b ? put_up(b, l, "crcore") : -ENOMEM;

	if (r == 0) {
		*ret = b;
		return 0;
	}
	block_free(b);
	return failed(r, err);
}

int block_possible(struct crcore_error *err)
{
	const struct lock_list none = { .n = 0 };
	struct block *b = NULL;
	int r = block_take(&none, &b, err);

	block_free(b);
	return r;
}

static bool is_named(int program, const char *name)
{
	struct bpf_prog_info info = { .type = 0 };
	union bpf_attr a = { .info = { .bpf_fd = (uint32_t)program, .info_len = sizeof(info),
		.info = (uintptr_t)&info } };

	return bpf(BPF_OBJ_GET_INFO_BY_FD, &a) == 0 && !strncmp(info.name, name, sizeof(info.name));
}

static void remove_from(unsigned device, uint32_t way, const char *name)
{
	uint32_t ids[PROGRAMS] = { 0 };
	union bpf_attr a = { .query = { .target_fd = device, .attach_type = way,
		.prog_ids = (uintptr_t)ids, .prog_cnt = PROGRAMS } };

	if (bpf(BPF_PROG_QUERY, &a) < 0)
		return;
	for (uint32_t i = 0; i < a.query.prog_cnt && i < PROGRAMS; i++) {
		union bpf_attr by_id = { .prog_id = ids[i] };
		cleanup_close int program = bpf(BPF_PROG_GET_FD_BY_ID, &by_id);
		if (program >= 0 && is_named(program, name))
			stay(program, device, way, BPF_PROG_DETACH);
	}
}

/* Gone already: all is well. */
void block_remove(const char *name)
{
	struct if_nameindex *devices = if_nameindex();

	for (struct if_nameindex *d = devices; d && d->if_index; d++)
		for (int way = 0; way < WAYS; way++)
			remove_from(d->if_index, attach[way], name);
	if (devices)
		if_freenameindex(devices);
}

int block_stay(const struct lock_list *l, const char *name, struct crcore_error *err)
{
	int r = put_up(NULL, l, name);

	if (r == 0)
		return 0;
	block_remove(name);
	return failed(r, err);
}
