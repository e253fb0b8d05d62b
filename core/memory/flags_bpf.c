/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The kernel's words of flags, one for each mapping of a task: a program that the kernel
 * runs for each (an iterator over mappings, BPF_TRACE_ITER) writes where it begins and
 * ends, its flags, and whether it has a memory policy. It takes about 20 us for a small
 * process, and 0.1 us for each mapping of a large one, however many pages they have.
 *
 * The program names the function it is for by its number in the kernel's description of
 * its types (BTF); that is looked through once, for this name, and for where a mapping has
 * its memory policy, if any. The other members of vm_area_struct are read at the places that
 * they have had since Linux 6.1. The kernel refuses a program that reads where no member is,
 * and flags_calibrate() one that reads another.
 *
 * The kernel lends the function that it calls only to programs under the GPL; hence the first line.
 */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "core/memory/flags.h"
#include "core/util/util.h"

#define NAME "bpf_iter_task_vma"
#define STRUCT "vm_area_struct"
#define MEMBER "vm_policy"
#define BUFFER (64u << 10) /* for the first words; about what one read gives */
#define TRIES 10

/* ---- the kernel's types ---------------------------------------------------------------- */

/* The number of the function; where in a mapping its policy is, -1: it has none (a kernel for one
 * node), or it is not found: then any may have one, and each is asked for. */
struct facts { uint32_t function; int policy; };

/* Bytes that follow a description, by its kind; -1: not known. */
static int more_bytes(uint32_t info)
{
	int n = BTF_INFO_VLEN(info);

	switch (BTF_INFO_KIND(info)) {
	case BTF_KIND_INT: case BTF_KIND_VAR: case BTF_KIND_DECL_TAG: return 4;
	case BTF_KIND_ARRAY: return sizeof(struct btf_array);
	case BTF_KIND_STRUCT: case BTF_KIND_UNION: return n * (int)sizeof(struct btf_member);
	case BTF_KIND_ENUM: return n * (int)sizeof(struct btf_enum);
	case BTF_KIND_ENUM64: return n * (int)sizeof(struct btf_enum64);
	case BTF_KIND_FUNC_PROTO: return n * (int)sizeof(struct btf_param);
	case BTF_KIND_DATASEC: return n * (int)sizeof(struct btf_var_secinfo);
	case BTF_KIND_PTR: case BTF_KIND_FWD: case BTF_KIND_TYPEDEF: case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST: case BTF_KIND_RESTRICT: case BTF_KIND_FUNC: case BTF_KIND_FLOAT:
	case BTF_KIND_TYPE_TAG: return 0;
	default: return -1;
	}
}

/* Where a name is among the strings, 0: nowhere. */
static uint32_t find_name(const char *strings, size_t len, const char *name, size_t size)
{
	const char *at = memmem(strings, len, name, size);

	return at ? (uint32_t)(at + 1 - strings) : 0;
}
#define FIND_NAME(strings, len, name) find_name(strings, len, "\0" name, sizeof(name) + 1)

/* Bytes from the beginning, -1: it has no such member. */
static int member_offset(const struct btf_type *t, uint32_t name)
{
	const struct btf_member *m = (const void *)(t + 1);

	for (unsigned i = 0; name && i < BTF_INFO_VLEN(t->info); i++)
		if (m[i].name_off == name)
			return (int)(BTF_INFO_KFLAG(t->info) ? BTF_MEMBER_BIT_OFFSET(m[i].offset)
			                                     : m[i].offset) / 8;
	return -1;
}

/* No function: it is not there, or the text is not understood. */
static struct facts find_facts(const char *text, size_t len)
{
	const struct btf_header *h = (const void *)text;
	struct facts f = { 0, -1 };
	uint32_t id = 1;

	if (len < sizeof(*h) || h->magic != BTF_MAGIC ||
	    (uint64_t)h->hdr_len + h->str_off + h->str_len > len ||
	    (uint64_t)h->hdr_len + h->type_off + h->type_len > len)
		return f;
	const char *strings = text + h->hdr_len + h->str_off;
	const uint32_t function = FIND_NAME(strings, h->str_len, NAME);
	const uint32_t mapping = FIND_NAME(strings, h->str_len, STRUCT);
	const uint32_t policy = FIND_NAME(strings, h->str_len, MEMBER);
	const char *at = text + h->hdr_len + h->type_off, *end = at + h->type_len;
	while (function && !f.function && (size_t)(end - at) >= sizeof(struct btf_type)) {
		const struct btf_type *t = (const void *)at;
		int more = more_bytes(t->info);
		if (more < 0 || end - at - (ptrdiff_t)sizeof(*t) < more)
			break;
		if (BTF_INFO_KIND(t->info) == BTF_KIND_FUNC && t->name_off == function)
			f.function = id;
		if (BTF_INFO_KIND(t->info) == BTF_KIND_STRUCT && t->name_off == mapping)
			f.policy = member_offset(t, policy);
		at += sizeof(*t) + (size_t)more;
		id++;
	}
	return f;
}

/* It is mapped where the kernel can do that (Linux 6.16), since it is several megabytes. */
static struct facts read_facts(int types)
{
	struct facts f = { 0, -1 };
	struct stat st;

	if (types < 0 || fstat(types, &st) < 0 || st.st_size <= 0)
		return f;
	size_t len = (size_t)st.st_size;
	char *text = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, types, 0);
	if (text != MAP_FAILED) {
		f = find_facts(text, len);
		munmap(text, len);
		return f;
	}
	cleanup_free char *copy = malloc(len);
	return copy && pread(types, copy, len, 0) == (ssize_t)len ? find_facts(copy, len) : f;
}

/* ---- the program ---------------------------------------------------------------------- */

static int bpf(int command, union bpf_attr *attr)
{
	int r = (int)syscall(SYS_bpf, command, attr, sizeof(*attr));

	return r < 0 ? -errno : r;
}

#define INSN(code_, dst, src, off_, imm_) \
	{ .code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (off_), .imm = (imm_) }
#define LOAD(dst, src, off) INSN(BPF_LDX | BPF_MEM | BPF_DW, dst, src, off, 0)
#define STORE(dst, off, src) INSN(BPF_STX | BPF_MEM | BPF_DW, dst, src, off, 0)
#define COPY(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define SET(dst, imm) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define ADD(dst, imm) INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, imm)
#define SKIP_IF_ZERO(reg, n) INSN(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, n, 0)
#define CALL_HELPER(number) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, number)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

enum { R0, R1, R2, R3, R6 = 6, FRAME = 10 };
enum { CTX_META = 0, CTX_VMA = 16, META_SEQ = 0 };       /* bpf_iter__task_vma, bpf_iter_meta */
enum { VM_START = 0, VM_END = 8, VM_FLAGS = 32 };        /* struct vm_area_struct */
enum { WORD = -(int)sizeof(struct flag_word) };          /* on the frame */

int flags_program(int types, struct crcore_error *err)
{
	const struct facts f = read_facts(types);
	const struct bpf_insn insns[] = {
		LOAD(R6, R1, CTX_VMA),
		SKIP_IF_ZERO(R6, 17), /* the call after the last */
		LOAD(R1, R1, CTX_META),
		LOAD(R1, R1, META_SEQ),
		LOAD(R2, R6, VM_START), STORE(FRAME, WORD, R2),
		LOAD(R2, R6, VM_END), STORE(FRAME, WORD + 8, R2),
		LOAD(R2, R6, VM_FLAGS), STORE(FRAME, WORD + 16, R2),
		f.policy < 0 ? (struct bpf_insn)SET(R2, 1)
		             : (struct bpf_insn)LOAD(R2, R6, (int16_t)f.policy),
		SET(R3, 0),
		SKIP_IF_ZERO(R2, 1),
		SET(R3, 1), /* the address itself is for nobody */
		STORE(FRAME, WORD + 24, R3),
		COPY(R2, FRAME), ADD(R2, WORD),
		SET(R3, -WORD),
		CALL_HELPER(BPF_FUNC_seq_write),
		SET(R0, 0),
		EXIT,
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_TRACING, .expected_attach_type = BPF_TRACE_ITER,
		.insns = (uintptr_t)insns, .insn_cnt = ARRAY_SIZE(insns), .license = (uintptr_t)"GPL",
		.prog_name = "cr_flags",
	};

	attr.attach_btf_id = f.function;
	if (!f.function)
		return crcore_fail(err, -ENOTSUP, "the kernel does not describe " NAME);
	int r = -EAGAIN; /* that: a signal is pending, whatever becomes of it */
	for (int i = 0; r == -EAGAIN && i < TRIES; i++)
		r = bpf(BPF_PROG_LOAD, &attr);
	return r < 0 ? crcore_fail(err, r, "the kernel takes no program: %s", strerror(-r)) : r;
}

/* ---- the words -------------------------------------------------------------------------- */

/* A descriptor that gives them as they are read. */
static int open_words(int program, pid_t pid)
{
	union bpf_iter_link_info info = { .task.tid = (uint32_t)pid };
	union bpf_attr attr = {
		.link_create = { .prog_fd = (uint32_t)program, .attach_type = BPF_TRACE_ITER,
		                 .iter_info = (uintptr_t)&info, .iter_info_len = sizeof(info) },
	};
	cleanup_close int link = bpf(BPF_LINK_CREATE, &attr);

	if (link < 0)
		return link;
	attr = (union bpf_attr){ .iter_create.link_fd = (uint32_t)link };
	return bpf(BPF_ITER_CREATE, &attr);
}

/* What was read behind len: 0 at the end. The iterator does not always come to an end when its
 * words take more than one read (it is kept at the task, as of Linux 6.18, and gives the last ones
 * again), but they ascend. */
static ssize_t read_words(int fd, char *buf, size_t len, size_t cap)
{
	const struct flag_word *v = (const void *)buf;
	ssize_t n;

	do
		n = read(fd, buf + len, cap - len);
	while (n < 0 && (errno == EAGAIN || errno == EINTR)); /* it has done much at once */
	if (n < 0 || n % (ssize_t)sizeof(*v))
		return n < 0 ? -errno : -EIO;
	size_t k = len / sizeof(*v);
	return n && k && v[k].start < v[k - 1].end ? 0 : n;
}

int flags_words(int program, pid_t pid, struct flag_word **ret, size_t *ret_n,
                struct crcore_error *err)
{
	cleanup_close int fd = open_words(program, pid);
	size_t cap = BUFFER, len = 0;
	cleanup_free char *buf = malloc(cap);
	ssize_t n = fd < 0 ? fd : buf ? 1 : -ENOMEM;

	while (n > 0 && (n = read_words(fd, buf, len, cap)) > 0) {
		len += (size_t)n;
		if (len > cap / 2) {
			char *t = realloc(buf, cap *= 2);
			n = t ? n : -ENOMEM;
			buf = t ? t : buf;
		}
	}
	if (n < 0) {
		crcore_fail_at(err, pid, -1, "mappings");
		return crcore_fail(err, (int)n, "their flags cannot be read: %s", strerror((int)-n));
	}
	*ret = (struct flag_word *)(void *)STEAL(buf);
	*ret_n = len / sizeof(**ret);
	return 0;
}

int flags_kernel_page(void)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = sizeof(uint32_t),
		                .value_size = sizeof(uint64_t), .max_entries = 1,
		                .map_flags = BPF_F_MMAPABLE };

	return bpf(BPF_MAP_CREATE, &attr);
}
