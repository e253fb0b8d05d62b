/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Reading memory of the kernel, by BPF: one program gives the address of a task, another
 * copies a word. Where members of structs are the kernel's type information (BTF) says,
 * so nothing depends on a version. Nothing is changed, and nothing is left.
 *
 * Pointers to memory of which each processor has its own part are the same for all; what
 * has to be added for one of them is the same for all such pointers. It is told by an array
 * of that sort, of which both the pointer and the address of a part can be seen.
 *
 * The kernel lends what copies its memory only to programs under the GPL; hence the first line.
 */
#include "plugins/bpf/peek.h"

#include <stdio.h>
#include <string.h>
#include "plugins/bpf/btf.h"
#include "plugins/bpf/program.h"
#include "plugins/util.h"

#define SLOT (-8) /* on the stack of a program */

/* What the second program is given, and gives. */
struct question {
	uint64_t address, value;
	int64_t error;      /* of copying */
	uint64_t cpu;       /* of which processor: its part of the array, and the array itself */
	uint64_t part, array;
	uint64_t self;      /* the task that asks */
};

/* A member that was asked for before: to look for it takes longer than to read it. */
struct place {
	const char *type, *path;
	struct btf_bits at;
	bool found;
};

struct peek {
	struct btf *btf;
	int array, task, word; /* the array, the programs */
	uint64_t *parts;       /* what to add for each processor */
	int cpus;
	struct place *places;
	unsigned nplaces;
};

/* Writes the address of the task of an iterator to whoever reads that. */
static int new_task_program(const struct peek *k)
{
	union bpf_attr a = { .prog_type = BPF_PROG_TYPE_TRACING,
		.expected_attach_type = BPF_TRACE_ITER,
		.attach_btf_id = (uint32_t)btf_function(k->btf, "bpf_iter_task") };
	struct code c = { .n = 0 };
	enum { END = 1 };

	load(&c, BPF_DW, 2, 1, 8);
	jump(&c, BPF_JEQ, 2, 0, END); /* none: the end of the list */
	store(&c, BPF_DW, 10, SLOT, 2);
	load(&c, BPF_DW, 1, 1, 0);
	load(&c, BPF_DW, 1, 1, 0); /* where to write to */
	point(&c, 2, SLOT);
	set(&c, 3, 8);
	call(&c, BPF_FUNC_seq_write);
	label_here(&c, END);
	leave(&c, 0);
	return code_load(&c, &a, "GPL", "crcore_task");
}

static int new_word_program(const struct peek *k)
{
	union bpf_attr a = { .prog_type = BPF_PROG_TYPE_SYSCALL, .prog_flags = BPF_F_SLEEPABLE };
	struct code c = { .n = 0 };

	move(&c, 6, 1);
	point(&c, 1, SLOT);
	set(&c, 2, 8);
	load(&c, BPF_DW, 3, 6, offsetof(struct question, address));
	call(&c, BPF_FUNC_probe_read_kernel);
	store(&c, BPF_DW, 6, offsetof(struct question, error), 0);
	load(&c, BPF_DW, 1, 10, SLOT);
	store(&c, BPF_DW, 6, offsetof(struct question, value), 1);
	op(&c, BPF_ST | BPF_MEM | BPF_DW, 10, 0, SLOT, 0);
	point_to_map(&c, 1, k->array);
	store(&c, BPF_DW, 6, offsetof(struct question, array), 1);
	point(&c, 2, SLOT);
	load(&c, BPF_DW, 3, 6, offsetof(struct question, cpu));
	call(&c, BPF_FUNC_map_lookup_percpu_elem);
	store(&c, BPF_DW, 6, offsetof(struct question, part), 0);
	call(&c, BPF_FUNC_get_current_task);
	store(&c, BPF_DW, 6, offsetof(struct question, self), 0);
	leave(&c, 0);
	return code_load(&c, &a, "GPL", "crcore_word");
}

static int ask(struct peek *k, struct question *q)
{
	union bpf_attr a = { .test = { .prog_fd = (uint32_t)k->word, .ctx_in = (uintptr_t)q,
		.ctx_size_in = sizeof(*q) } }; /* is written to as well */

	return bpf(BPF_PROG_TEST_RUN, &a);
}

int peek_read(struct peek *k, uint64_t address, int cpu, void *ret, uint32_t size)
{
	struct question q = { .address = address + (cpu < 0 ? 0 : k->parts[cpu]) };
	int r = ask(k, &q);

	if (r < 0)
		return r;
	memcpy(ret, &q.value, size); /* the first bytes of the word */
	return (int)q.error;
}

int peek_word(struct peek *k, uint64_t address, uint64_t *ret)
{
	return peek_read(k, address, -1, ret, sizeof(*ret));
}

int peek_task(struct peek *k, pid_t tid, uint64_t *ret)
{
	union bpf_iter_link_info info = { .task.tid = (uint32_t)tid };
	union bpf_attr a = { .link_create = {
		.prog_fd = (uint32_t)k->task, .attach_type = BPF_TRACE_ITER,
		.iter_info = (uintptr_t)&info, .iter_info_len = sizeof(info) } };
	cleanup_close int link = bpf(BPF_LINK_CREATE, &a);
	union bpf_attr b = { .iter_create = { .link_fd = (uint32_t)link } };
	cleanup_close int iter = link < 0 ? link : bpf(BPF_ITER_CREATE, &b);
	ssize_t n;

	if (iter < 0)
		return iter;
	n = read(iter, ret, sizeof(*ret));
	return n < 0 ? -errno : n == sizeof(*ret);
}

int peek_cpus(const struct peek *k)
{
	return k->cpus;
}

int peek_offset(struct peek *k, const char *type, const char *member, uint32_t size, uint32_t *ret,
                struct crcore_error *err)
{
	uint32_t has;

	if (btf_member(k->btf, type, member, ret, &has) && has == size)
		return 0;
	return crcore_fail(err, -ENOTSUP, "how this kernel keeps it is not known: struct %s has no %s "
	                   "of %u bytes", type, member, size);
}

/* ---- members by name ---- */

static bool find(struct peek *k, const char *type, const char *path, struct btf_bits *ret)
{
	struct place one = { .type = type, .path = path };

	for (unsigned i = 0; i < k->nplaces; i++)
		if (!strcmp(k->places[i].path, path) && !strcmp(k->places[i].type, type)) {
			*ret = k->places[i].at;
			return k->places[i].found;
		}
	one.found = btf_find_bits(k->btf, type, path, &one.at);
	if (GROW(k->places, k->nplaces))
		k->places[k->nplaces++] = one;
	*ret = one.at;
	return one.found;
}

int peek_at(struct peek *k, uint64_t base, const char *type, const char *path, uint64_t *ret)
{
	struct btf_bits at;

	if (!find(k, type, path, &at))
		return -ENOENT;
	*ret = base + at.first / 8;
	return 0;
}

int peek_number(struct peek *k, uint64_t base, const char *type, const char *path, uint64_t *ret)
{
	struct btf_bits at;
	uint64_t word = 0;
	int r;

	if (!find(k, type, path, &at))
		return -ENOENT;
	if (!at.n || at.first % 8 + at.n > 64)
		return -EINVAL;
	if ((r = peek_read(k, base + at.first / 8, -1, &word, sizeof(word))) < 0)
		return r;
	word >>= at.first % 8;
	*ret = at.n < 64 ? word & ((1ull << at.n) - 1) : word;
	return 0;
}

int peek_file(struct peek *k, int fd, uint64_t *ret)
{
	struct question q = { .cpu = 0 };
	uint64_t files, table, list;
	int r = ask(k, &q);

	if (r < 0 || (r = peek_number(k, q.self, "task_struct", "files", &files)) < 0 ||
	    (r = peek_number(k, files, "files_struct", "fdt", &table)) < 0 ||
	    (r = peek_number(k, table, "fdtable", "fd", &list)) < 0)
		return r;
	return peek_word(k, list + (uint64_t)fd * sizeof(void *), ret);
}

int peek_counter(struct peek *k, uint64_t counter, int64_t *ret)
{
	uint64_t count, parts;
	int r = peek_number(k, counter, "percpu_counter", "count", &count);

	if (r == 0)
		r = peek_number(k, counter, "percpu_counter", "counters", &parts);
	if (r < 0)
		return r;
	*ret = (int64_t)count;
	for (int cpu = 0; r == 0 && cpu < k->cpus; cpu++) {
		int32_t part = 0;
		r = peek_read(k, parts, cpu, &part, sizeof(part));
		*ret += part;
	}
	return r;
}

/* ---- */

/* The programs, and what tells the parts of processors. */
static int start(struct peek *k, struct crcore_error *err)
{
	union bpf_attr array = { .map_type = BPF_MAP_TYPE_PERCPU_ARRAY, .key_size = 4, .value_size = 8,
		.max_entries = 1 };
	struct question q = { .cpu = 0 };
	uint64_t all = 0;
	uint32_t at;
	int r = btf_open(&k->btf);

	if (r < 0 || (r = k->array = bpf(BPF_MAP_CREATE, &array)) < 0 ||
	    (r = k->task = new_task_program(k)) < 0 || (r = k->word = new_word_program(k)) < 0 ||
	    (r = peek_offset(k, "bpf_array", "pptrs", 0, &at, err)) < 0)
		return r;
	for (; (r = ask(k, &q)) == 0 && q.part; q.cpu = (uint64_t)k->cpus) {
		if (!GROW(k->parts, (unsigned)k->cpus))
			return -ENOMEM;
		k->parts[k->cpus++] = q.part;
	}
	if (r == 0)
		r = peek_read(k, q.array + at, -1, &all, 8);
	for (int i = 0; i < k->cpus; i++)
		k->parts[i] -= all;
	return r;
}

int peek_open(struct peek **ret, struct crcore_error *err)
{
	struct peek *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return crcore_no_memory(err);
	k->array = k->task = k->word = -1;
	r = start(k, err);
	if (r < 0) {
		peek_close(k);
		crcore_advise(err, "let the program close it before the dump, or give crcore "
		              "CAP_SYS_ADMIN, on a kernel with type information (CONFIG_DEBUG_INFO_BTF)");
		return crcore_fail(err, r, "what only the kernel knows of it cannot be read by a BPF "
		                   "program: %s", strerror(-r));
	}
	*ret = k;
	return 0;
}

void peek_close(struct peek *k)
{
	if (!k)
		return;
	const int fds[] = { k->array, k->task, k->word };
	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	btf_close(k->btf);
	free(k->parts);
	free(k->places);
	free(k);
}
