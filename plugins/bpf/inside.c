/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * One program follows the pointers from a descriptor of the thread that runs it to the
 * socket, asks its protocol how large that is, and copies it, in about a microsecond. Where
 * members are says the kernel's type information. See inside.h.
 *
 * The kernel lends what copies its memory only to programs under the GPL; hence the first line.
 */
#include "plugins/bpf/inside.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include "plugins/bpf/btf.h"
#include "plugins/bpf/program.h"
#include "plugins/util.h"

#define SIZE (INSIDE_WORDS * sizeof(uint32_t))
#define SLOT (-8) /* on the stack of the program */
enum { R6 = 6, AT, SOCKET }; /* registers that calls leave alone: the question, a pointer */
enum { TOO_LARGE = 1 };

struct question { uint64_t fd; int64_t error; uint64_t size; };

struct inside {
	struct btf *btf;
	int map, prog;
	const char *bytes;    /* of the map: what the program has copied */
	pthread_mutex_t lock; /* of the bytes */
};

/* ---- the program ---- */

/* Members on the way to a socket, as offsets in bytes. */
struct way { uint32_t files, table, list, data, sk, protocol, size; };

static bool find(const struct btf *b, const char *type, const char *path, uint32_t *ret)
{
	struct btf_bits at;
	bool found = btf_find_bits(b, type, path, &at);

	*ret = found ? at.first / 8 : 0;
	return found;
}

static bool find_way(const struct btf *b, struct way *w)
{
	return find(b, "task_struct", "files", &w->files) &&
	       find(b, "files_struct", "fdt", &w->table) &&
	       find(b, "fdtable", "fd", &w->list) && find(b, "file", "private_data", &w->data) &&
	       find(b, "socket", "sk", &w->sk) &&
	       find(b, "sock", "__sk_common.skc_prot", &w->protocol) &&
	       find(b, "proto", "obj_size", &w->size);
}

/* The register AT becomes what it points to, at an offset. */
static void follow(struct code *c, uint32_t offset)
{
	move(c, 3, AT);
	op(c, BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, (int)offset);
	point(c, 1, SLOT);
	set(c, 2, 8);
	call(c, BPF_FUNC_probe_read_kernel);
	load(c, BPF_DW, AT, 10, SLOT);
}

static int new_program(const struct way *w, int map)
{
	union bpf_attr a = { .prog_type = BPF_PROG_TYPE_SYSCALL, .prog_flags = BPF_F_SLEEPABLE };
	struct code c = { .n = 0 };

	move(&c, R6, 1);
	call(&c, BPF_FUNC_get_current_task);
	move(&c, AT, 0);
	follow(&c, w->files);
	follow(&c, w->table);
	follow(&c, w->list);
	load(&c, BPF_DW, 1, R6, offsetof(struct question, fd));
	op(&c, BPF_ALU64 | BPF_LSH | BPF_K, 1, 0, 0, 3);
	op(&c, BPF_ALU64 | BPF_ADD | BPF_X, AT, 1, 0, 0);
	follow(&c, 0);
	follow(&c, w->data);
	follow(&c, w->sk);
	move(&c, SOCKET, AT);
	follow(&c, w->protocol);
	follow(&c, w->size);
	load(&c, BPF_W, 2, 10, SLOT);
	store(&c, BPF_DW, R6, offsetof(struct question, size), 2);
	jump(&c, BPF_JGT, 2, SIZE, TOO_LARGE);
	move(&c, 3, SOCKET);
	op(&c, BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_VALUE, 0, map);
	op(&c, 0, 0, 0, 0, 0);
	call(&c, BPF_FUNC_probe_read_kernel);
	store(&c, BPF_DW, R6, offsetof(struct question, error), 0);
	label_here(&c, TOO_LARGE);
	leave(&c, 0);
	return code_load(&c, &a, "GPL", "crcore_inside");
}

/* ---- */

static int start(struct inside *in)
{
	union bpf_attr map = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = SIZE,
		.max_entries = 1, .map_flags = BPF_F_MMAPABLE };
	struct way w;
	void *p;
	int r = btf_open(&in->btf);

	if (r == 0)
		r = in->map = bpf(BPF_MAP_CREATE, &map);
	if (r >= 0)
		r = in->prog = find_way(in->btf, &w) ? new_program(&w, in->map) : -ENOTSUP;
	if (r < 0)
		return r;
	p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, in->map, 0);
	in->bytes = p == MAP_FAILED ? NULL : p;
	return in->bytes ? 0 : -errno;
}

int inside_open(struct inside **ret)
{
	struct inside *in = calloc(1, sizeof(*in));
	int r;

	if (!in)
		return -ENOMEM;
	in->map = in->prog = -1;
	pthread_mutex_init(&in->lock, NULL);
	r = start(in);
	if (r < 0)
		inside_close(in);
	else
		*ret = in;
	return r < 0 ? r : 0;
}

void inside_close(struct inside *in)
{
	if (!in)
		return;
	if (in->bytes)
		munmap((void *)(uintptr_t)in->bytes, SIZE);
	if (in->prog >= 0)
		close(in->prog);
	if (in->map >= 0)
		close(in->map);
	btf_close(in->btf);
	pthread_mutex_destroy(&in->lock);
	free(in);
}

int inside_read(struct inside *in, int fd, uint32_t ret[INSIDE_WORDS])
{
	struct question q = { .fd = (uint64_t)fd };
	union bpf_attr a = { .test = { .prog_fd = (uint32_t)in->prog, .ctx_in = (uintptr_t)&q,
		.ctx_size_in = sizeof(q) } }; /* is written to as well */
	int r;

	pthread_mutex_lock(&in->lock);
	r = bpf(BPF_PROG_TEST_RUN, &a);
	if (r >= 0)
		r = q.size > SIZE ? -EFBIG : q.error < 0 ? (int)q.error : (int)(q.size / sizeof(*ret));
	if (r > 0)
		memcpy(ret, in->bytes, (size_t)r * sizeof(*ret));
	pthread_mutex_unlock(&in->lock);
	return r;
}

uint32_t inside_struct(const struct inside *in, const char *name)
{
	return btf_struct(in->btf, name);
}

bool inside_member(const struct inside *in, uint32_t number, uint32_t bit, uint32_t *ret_first,
                   uint32_t *ret_n)
{
	struct btf_bits at;

	if (!number || !btf_member_at(in->btf, number, bit, &at))
		return false;
	*ret_first = at.first;
	*ret_n = at.n;
	return true;
}
