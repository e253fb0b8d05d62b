/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See peek.h. Programs of a few instructions, which are run by a system call: one copies
 * memory of the kernel to a map that we have mapped, one gives the address of the task
 * that runs it. All else is ordinary code here.
 *
 * Where a processor has its own copy of a variable is told by a map that has one value
 * for each: two programs give the addresses of that map and of its value on a processor.
 */
#include "plugins/peek/peek.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "plugins/peek/btf.h"
#include "plugins/util.h"

#define ROOM 8

enum program { COPY, TASK, MAP, VALUE, PROGRAMS };

/* A member that was asked for before: the kernel's description is long. */
struct place {
	const char *type, *path;
	struct btf_place at;
};

struct peek {
	struct types *btf;
	struct place *places;
	unsigned nplaces;
	int map;        /* of one value, which is room */
	int own_values; /* a map of one value for each processor */
	int programs[PROGRAMS];
	const volatile uint64_t *room; /* where COPY copies to */
};

/* What a program is given, and its answer. */
struct question {
	uint64_t address; /* or number of a processor */
	int64_t answer;
};

static int bpf(int command, union bpf_attr *a)
{
	int r = (int)syscall(SYS_bpf, command, a, sizeof(*a));

	return r < 0 ? -errno : r;
}

/* ---- programs --------------------------------------------------------------------------- */

#define OP(c, d, s, o, i) \
	((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })
#define MOVE(d, s) OP(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define SET(d, i) OP(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD(d, i) OP(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define LOAD(d, s, o) OP(BPF_LDX | BPF_MEM | BPF_DW, d, s, o, 0)
#define STORE(d, o, s) OP(BPF_STX | BPF_MEM | BPF_DW, d, s, o, 0)
#define CALL(f) OP(BPF_JMP | BPF_CALL, 0, 0, 0, f)
#define ADDRESS(d, sort, i) OP(BPF_LD | BPF_IMM | BPF_DW, d, sort, 0, i), OP(0, 0, 0, 0, 0)
#define RETURN OP(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define R(field) ((int16_t)offsetof(struct question, field))

static int load(const struct bpf_insn *code, size_t n)
{
	union bpf_attr a = { 0 };

	a.prog_type = BPF_PROG_TYPE_SYSCALL;
	a.prog_flags = BPF_F_SLEEPABLE;
	a.insns = (uintptr_t)code;
	a.insn_cnt = (uint32_t)n;
	/* The kernel lets only programs read its memory that may be used under the GPL;
	 * these instructions may. */
	a.license = (uintptr_t)"Dual MIT/GPL";
	return bpf(BPF_PROG_LOAD, &a);
}

static int load_copy(const struct peek *p)
{
	const struct bpf_insn code[] = {
		MOVE(6, 1), LOAD(3, 6, R(address)), SET(2, ROOM), ADDRESS(1, BPF_PSEUDO_MAP_VALUE, p->map),
		CALL(BPF_FUNC_probe_read_kernel), STORE(6, R(answer), 0), SET(0, 0), RETURN,
	};
	return load(code, sizeof(code) / sizeof(*code));
}

static int load_task(void)
{
	const struct bpf_insn code[] = {
		MOVE(6, 1), CALL(BPF_FUNC_get_current_task), STORE(6, R(answer), 0), SET(0, 0), RETURN,
	};
	return load(code, sizeof(code) / sizeof(*code));
}

static int load_map(const struct peek *p)
{
	const struct bpf_insn code[] = {
		ADDRESS(2, BPF_PSEUDO_MAP_FD, p->own_values), STORE(1, R(answer), 2), SET(0, 0), RETURN,
	};
	return load(code, sizeof(code) / sizeof(*code));
}

static int load_value(const struct peek *p)
{
	const struct bpf_insn code[] = {
		MOVE(6, 1), LOAD(3, 6, R(address)), SET(1, 0), STORE(10, -8, 1), MOVE(2, 10), ADD(2, -8),
		ADDRESS(1, BPF_PSEUDO_MAP_FD, p->own_values), CALL(BPF_FUNC_map_lookup_percpu_elem),
		STORE(6, R(answer), 0), SET(0, 0), RETURN,
	};
	return load(code, sizeof(code) / sizeof(*code));
}

static int run(const struct peek *p, enum program which, uint64_t address, int64_t *ret)
{
	struct question q = { .address = address };
	union bpf_attr a = { 0 };

	a.test.prog_fd = (uint32_t)p->programs[which];
	a.test.ctx_in = (uintptr_t)&q;
	a.test.ctx_size_in = sizeof(q);
	int r = bpf(BPF_PROG_TEST_RUN, &a);
	*ret = q.answer;
	return r < 0 ? r : 0;
}

/* ---- making one ------------------------------------------------------------------------- */

static int make_map(uint32_t type, uint32_t flags)
{
	union bpf_attr a = { 0 };

	a.map_type = type;
	a.map_flags = flags;
	a.key_size = sizeof(uint32_t);
	a.value_size = ROOM;
	a.max_entries = 1;
	return bpf(BPF_MAP_CREATE, &a);
}

static int make_maps(struct peek *p)
{
	p->own_values = make_map(BPF_MAP_TYPE_PERCPU_ARRAY, 0);
	p->map = make_map(BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE);
	if (p->own_values < 0 || p->map < 0)
		return p->map < 0 ? p->map : p->own_values;
	void *room = mmap(NULL, ROOM, PROT_READ, MAP_SHARED, p->map, 0);
	if (room == MAP_FAILED)
		return -errno;
	p->room = room;
	return 0;
}

static int load_all(struct peek *p)
{
	p->programs[COPY] = load_copy(p);
	p->programs[TASK] = load_task();
	p->programs[MAP] = load_map(p);
	p->programs[VALUE] = load_value(p);
	for (int i = 0; i < PROGRAMS; i++)
		if (p->programs[i] < 0)
			return p->programs[i];
	return 0;
}

int peek_open(struct peek **ret, struct crcore_error *err)
{
	struct peek *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return crcore_fail(err, -ENOMEM, "out of memory");
	p->map = p->own_values = -1;
	for (int i = 0; i < PROGRAMS; i++)
		p->programs[i] = -1;
	r = types_open(&p->btf);
	if (r < 0) {
		crcore_advise(err, "use a kernel with CONFIG_DEBUG_INFO_BTF");
		r = crcore_fail(err, r, "the kernel does not describe its types (/sys/kernel/btf/vmlinux): %s",
		                strerror(-r));
	} else if ((r = make_maps(p)) < 0 || (r = load_all(p)) < 0) {
		crcore_advise(err, "run crcore with CAP_BPF and CAP_PERFMON, on a kernel that is not locked "
		              "down to confidentiality");
		r = crcore_fail(err, r, "a program that reads memory of the kernel cannot be loaded: %s",
		                strerror(-r));
	}
	if (r == 0)
		*ret = p;
	else
		peek_close(p);
	return r;
}

void peek_close(struct peek *p)
{
	if (!p)
		return;
	for (int i = 0; i < PROGRAMS; i++)
		if (p->programs[i] >= 0)
			close(p->programs[i]);
	if (p->room)
		munmap((void *)(uintptr_t)p->room, ROOM);
	if (p->map >= 0)
		close(p->map);
	if (p->own_values >= 0)
		close(p->own_values);
	types_free(p->btf);
	free(p->places);
	free(p);
}

/* ---- looking ---------------------------------------------------------------------------- */

int peek_word(struct peek *p, uint64_t address, uint64_t *ret)
{
	int64_t answer;
	int r = run(p, COPY, address, &answer);

	if (r < 0 || answer < 0)
		return r < 0 ? r : (int)answer;
	*ret = *p->room;
	return 0;
}

static int find(struct peek *p, const char *type, const char *path, struct btf_place *ret)
{
	int r;

	for (unsigned i = 0; i < p->nplaces; i++)
		if (!strcmp(p->places[i].path, path) && !strcmp(p->places[i].type, type)) {
			*ret = p->places[i].at;
			return 0;
		}
	r = types_find(p->btf, type, path, ret);
	if (r == 0 && GROW(p->places, p->nplaces))
		p->places[p->nplaces++] = (struct place){ type, path, *ret };
	return r;
}

int peek_at(struct peek *p, uint64_t base, const char *type, const char *path, uint64_t *ret)
{
	struct btf_place at;
	int r = find(p, type, path, &at);

	*ret = base + at.offset;
	return r;
}

int peek_number(struct peek *p, uint64_t base, const char *type, const char *path, uint64_t *ret)
{
	struct btf_place at;
	uint64_t word = 0;
	int r = find(p, type, path, &at);

	if (r == 0)
		r = peek_word(p, base + at.offset, &word);
	if (r < 0)
		return r;
	unsigned bits = at.bits ? at.bits : at.size * 8;
	if (bits + at.bit > 64)
		return -EINVAL;
	word >>= at.bit;
	*ret = bits < 64 ? word & ((1ULL << bits) - 1) : word;
	return 0;
}

int peek_file(struct peek *p, int fd, uint64_t *ret)
{
	uint64_t task, files, table, list;
	int64_t answer;
	int r = run(p, TASK, 0, &answer);

	task = (uint64_t)answer;
	if (r < 0 || (r = peek_number(p, task, "task_struct", "files", &files)) < 0 ||
	    (r = peek_number(p, files, "files_struct", "fdt", &table)) < 0 ||
	    (r = peek_number(p, table, "fdtable", "fd", &list)) < 0)
		return r;
	return peek_word(p, list + (uint64_t)fd * sizeof(void *), ret);
}

/* How far a processor's own variables are from where pointers to them point. -ENOENT:
 * there is no such processor. */
static int own_distance(struct peek *p, uint64_t cpu, uint64_t *ret)
{
	int64_t map, value;
	uint64_t list, pointer = 0;
	int r = run(p, MAP, 0, &map);

	if (r < 0 || (r = peek_at(p, (uint64_t)map, "bpf_array", "pptrs", &list)) < 0 ||
	    (r = peek_word(p, list, &pointer)) < 0 || (r = run(p, VALUE, cpu, &value)) < 0)
		return r;
	*ret = (uint64_t)value - pointer;
	return value ? 0 : -ENOENT;
}

int peek_counter(struct peek *p, uint64_t counter, int64_t *ret)
{
	uint64_t count, own, word = 0, distance;
	int r = peek_number(p, counter, "percpu_counter", "count", &count);

	if (r == 0)
		r = peek_number(p, counter, "percpu_counter", "counters", &own);
	if (r < 0)
		return r;
	*ret = (int64_t)count;
	for (uint64_t cpu = 0; (r = own_distance(p, cpu, &distance)) == 0; cpu++) {
		if ((r = peek_word(p, own + distance, &word)) < 0)
			return r;
		*ret += (int32_t)word;
	}
	return r == -ENOENT ? 0 : r;
}
