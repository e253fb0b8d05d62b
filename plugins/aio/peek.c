/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading memory of the kernel, by BPF: one program gives the address of a task, another
 * copies a word. Where members of structs are the kernel's type information (BTF) says,
 * so nothing depends on a version. Nothing is changed, and nothing is left.
 *
 * Pointers to memory of which each processor has its own part are the same for all; what
 * has to be added for one of them is the same for all such pointers. It is told by an array
 * of that sort, of which both the pointer and the address of a part can be seen.
 */
#include "aio.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#define INSN(code_, dst, src, off_, imm_) \
	{ .code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (off_), .imm = (imm_) }
#define MOV(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define MOV_IMM(dst, n) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, n)
#define ADD_IMM(dst, n) INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, n)
#define LOAD(dst, src, off) INSN(BPF_LDX | BPF_MEM | BPF_DW, dst, src, off, 0)
#define STORE(dst, src, off) INSN(BPF_STX | BPF_MEM | BPF_DW, dst, src, off, 0)
#define STORE_IMM(dst, off, n) INSN(BPF_ST | BPF_MEM | BPF_DW, dst, 0, off, n)
#define LOAD_MAP(dst, fd) \
	INSN(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_FD, 0, fd), INSN(0, 0, 0, 0, 0)
#define IF_0(reg, skip) INSN(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, skip, 0)
#define CALL(helper) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_##helper)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define SLOT (-8) /* on the program's stack */

/* What the second program is given, and gives. */
struct question {
	uint64_t address, value;
	uint64_t cpu;       /* of which processor: its part of the array, and the array itself */
	uint64_t part, array;
};

struct peek {
	struct btf *btf;
	int array, task, word; /* the array, the programs */
	int cpus;
	uint64_t own_part;     /* the array's pointer to the parts of all processors */
};

static int new_task_program(const struct peek *k)
{
	const struct bpf_insn insns[] = {
		LOAD(BPF_REG_2, BPF_REG_1, 8), /* the task; none: the end of the list */
		IF_0(BPF_REG_2, 7),
		STORE(BPF_REG_10, BPF_REG_2, SLOT),
		LOAD(BPF_REG_1, BPF_REG_1, 0),
		LOAD(BPF_REG_1, BPF_REG_1, 0), /* where to write to */
		MOV(BPF_REG_2, BPF_REG_10),
		ADD_IMM(BPF_REG_2, SLOT),
		MOV_IMM(BPF_REG_3, 8),
		CALL(seq_write),
		MOV_IMM(BPF_REG_0, 0),
		EXIT,
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_TRACE_ITER);
	int id = btf__find_by_name_kind(k->btf, "bpf_iter_task", BTF_KIND_FUNC);

	if (id < 0)
		return -ENOSYS;
	opts.attach_btf_id = (uint32_t)id;
	int fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "crcore_task", "GPL", insns,
	                       sizeof(insns) / sizeof(*insns), &opts);
	return fd < 0 ? -errno : fd;
}

static int new_word_program(const struct peek *k)
{
	const struct bpf_insn insns[] = {
		MOV(BPF_REG_6, BPF_REG_1),
		MOV(BPF_REG_1, BPF_REG_10),
		ADD_IMM(BPF_REG_1, SLOT),
		MOV_IMM(BPF_REG_2, 8),
		LOAD(BPF_REG_3, BPF_REG_6, offsetof(struct question, address)),
		CALL(probe_read_kernel),
		MOV(BPF_REG_7, BPF_REG_0),
		LOAD(BPF_REG_1, BPF_REG_10, SLOT),
		STORE(BPF_REG_6, BPF_REG_1, offsetof(struct question, value)),
		STORE_IMM(BPF_REG_10, SLOT, 0),
		LOAD_MAP(BPF_REG_1, k->array),
		STORE(BPF_REG_6, BPF_REG_1, offsetof(struct question, array)),
		MOV(BPF_REG_2, BPF_REG_10),
		ADD_IMM(BPF_REG_2, SLOT),
		LOAD(BPF_REG_3, BPF_REG_6, offsetof(struct question, cpu)),
		CALL(map_lookup_percpu_elem),
		STORE(BPF_REG_6, BPF_REG_0, offsetof(struct question, part)),
		MOV(BPF_REG_0, BPF_REG_7),
		EXIT,
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = BPF_F_SLEEPABLE);
	int fd = bpf_prog_load(BPF_PROG_TYPE_SYSCALL, "crcore_word", "GPL", insns,
	                       sizeof(insns) / sizeof(*insns), &opts);
	return fd < 0 ? -errno : fd;
}

static int ask(struct peek *k, struct question *q)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = q, .ctx_size_in = sizeof(*q));

	if (bpf_prog_test_run_opts(k->word, &opts) < 0)
		return -errno;
	return (int)opts.retval; /* of the copying */
}

int peek_read(struct peek *k, uint64_t address, int cpu, void *ret, uint32_t size)
{
	struct question q = { .cpu = cpu < 0 ? 0 : (uint64_t)cpu };
	int r;

	if (cpu >= 0) {
		if ((r = ask(k, &q)) < 0 && !q.part)
			return r;
		if (!q.part)
			return -ENXIO;
		q.address = address + (q.part - k->own_part);
	} else {
		q.address = address;
	}
	if ((r = ask(k, &q)) < 0)
		return r;
	memcpy(ret, &q.value, size); /* little-endian: the first bytes of the word */
	return 0;
}

int peek_task(struct peek *k, pid_t tid, uint64_t *ret)
{
	union bpf_iter_link_info info = { .task.tid = (uint32_t)tid };
	LIBBPF_OPTS(bpf_link_create_opts, opts, .iter_info = &info, .iter_info_len = sizeof(info));
	cleanup_close int link = bpf_link_create(k->task, 0, BPF_TRACE_ITER, &opts);
	cleanup_close int iter = link < 0 ? -1 : bpf_iter_create(link);
	ssize_t n = iter < 0 ? -1 : read(iter, ret, sizeof(*ret));

	return n < 0 ? -errno : n == sizeof(*ret);
}

int peek_cpus(const struct peek *k)
{
	return k->cpus;
}

/* ---- where members are ---- */

/* Members of a struct without a name are members of the one around it. */
static const struct btf_member *find_member(const struct btf *btf, const struct btf_type *t,
                                            const char *name, uint32_t *ret_bits)
{
	const struct btf_member *m = btf_members(t);

	for (uint32_t i = 0; i < btf_vlen(t); i++) {
		const char *n = btf__name_by_offset(btf, m[i].name_off);
		const struct btf_type *inner = btf__type_by_id(btf, m[i].type);
		uint32_t bits = 0;
		if (*n && !strcmp(n, name)) {
			*ret_bits = btf_member_bit_offset(t, i);
			return &m[i];
		}
		const struct btf_member *hit = *n || !btf_is_composite(inner) ? NULL :
			find_member(btf, inner, name, &bits);
		if (hit) {
			*ret_bits = bits + btf_member_bit_offset(t, i);
			return hit;
		}
	}
	return NULL;
}

int peek_offset(struct peek *k, const char *type, const char *member, uint32_t size, uint32_t *ret,
                struct crcore_error *err)
{
	int id = btf__find_by_name_kind(k->btf, type, BTF_KIND_STRUCT);
	uint32_t bits = 0;
	const struct btf_member *m = id < 0 ? NULL :
		find_member(k->btf, btf__type_by_id(k->btf, (uint32_t)id), member, &bits);

	if (!m || bits % 8 || btf__resolve_size(k->btf, m->type) != (int64_t)size)
		return crcore_fail(err, -ENOTSUP, "how this kernel keeps them is not known: struct %s has no "
		                   "%s of %u bytes", type, member, size);
	*ret = bits / 8;
	return 0;
}

/* ---- */

/* The programs, and what tells the parts of processors. */
static int start(struct peek *k, struct crcore_error *err)
{
	struct question q = { 0 };
	uint32_t parts;
	int r;

	k->array = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "crcore_cpu", 4, 8, 1, NULL);
	if (k->array < 0)
		return -errno;
	if ((k->task = new_task_program(k)) < 0)
		return k->task;
	if ((k->word = new_word_program(k)) < 0)
		return k->word;
	if ((k->cpus = libbpf_num_possible_cpus()) < 0)
		return k->cpus;
	if ((r = peek_offset(k, "bpf_array", "pptrs", 0, &parts, err)) < 0)
		return r;
	ask(k, &q);
	return q.array ? peek_read(k, q.array + parts, -1, &k->own_part, 8) : -EIO;
}

int peek_open(struct peek **ret, struct crcore_error *err)
{
	struct peek *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return crcore_fail(err, -ENOMEM, "out of memory");
	k->array = k->task = k->word = -1;
	k->btf = btf__load_vmlinux_btf();
	r = k->btf ? start(k, err) : -errno;
	if (r < 0) {
		peek_close(k);
		crcore_advise(err, "let the program destroy its contexts (io_destroy) before the dump, or give "
		              "crcore CAP_BPF and CAP_PERFMON on a kernel with type information (CONFIG_DEBUG_"
		              "INFO_BTF)");
		return crcore_fail(err, r, "whether requests are in flight cannot be told: no BPF program can "
		                   "read it: %s", strerror(-r));
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
	btf__free(k->btf);
	free(k);
}
