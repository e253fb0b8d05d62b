/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: sockets that listen at one port together (SO_REUSEPORT). The kernel chooses one of them
 * for each connection, by its addresses and by who listens, so it might choose another than it did
 * before. For the time in which one gets back those that waited there, a program chooses it.
 */
#include "plugins/bpf/program.h"
#include "plugins/tcp/backlog.h"

#define ATTACH 52 /* SO_ATTACH_REUSEPORT_EBPF, SO_DETACH_REUSEPORT_BPF */
#define DETACH 68
#define SK_PASS 1

static int make_array(int listener)
{
	union bpf_attr a = { .map_type = BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, .key_size = 4,
		.value_size = 4, .max_entries = 1 };
	uint32_t first = 0, value = (uint32_t)listener;
	int map = bpf(BPF_MAP_CREATE, &a), r = map;

	if (map >= 0) {
		a = (union bpf_attr){ .map_fd = (uint32_t)map, .key = (uintptr_t)&first,
			.value = (uintptr_t)&value };
		r = bpf(BPF_MAP_UPDATE_ELEM, &a);
	}
	if (r < 0)
		close_fd(&map);
	return r < 0 ? r : map;
}

static int load_program(int map)
{
	union bpf_attr a = { .prog_type = BPF_PROG_TYPE_SK_REUSEPORT };
	struct code c = { .n = 0 };

	point_to_map(&c, 2, map);
	op(&c, BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0);
	point(&c, 3, -4);
	set(&c, 4, 0);
	call(&c, BPF_FUNC_sk_select_reuseport);
	leave(&c, SK_PASS);
	return code_load(&c, &a, "Apache-2.0", "crcore");
}

int group_choose(int listener)
{
	cleanup_close int map = -1;
	cleanup_close int program = -1;

	if (get_int(listener, SOL_SOCKET, SO_REUSEPORT) <= 0)
		return 0;
	map = make_array(listener);
	program = map < 0 ? map : load_program(map);
	return program < 0 ? program : set_int(listener, SOL_SOCKET, ATTACH, program);
}

void group_as_before(int listener)
{
	if (get_int(listener, SOL_SOCKET, SO_REUSEPORT) > 0)
		set_int(listener, SOL_SOCKET, DETACH, 0);
}
