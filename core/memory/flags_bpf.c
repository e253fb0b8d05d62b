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
#include "core/memory/flags.h"
#include "core/util/bpf.h"
#include "core/util/btf.h"
#include "core/util/util.h"

#define NAME "bpf_iter_task_vma"
#define STRUCT "vm_area_struct"
#define MEMBER "vm_policy"
#define BUFFER (64u << 10) /* for the first words; about what one read gives */

/* ---- the program ---------------------------------------------------------------------- */

enum { CTX_META = 0, CTX_VMA = 16, META_SEQ = 0 };       /* bpf_iter__task_vma, bpf_iter_meta */
enum { VM_START = 0, VM_END = 8, VM_FLAGS = 32 };        /* struct vm_area_struct */
enum { WORD = -(int)sizeof(struct flag_word) };          /* on the frame */

int flags_program(int types, struct crcore_error *err)
{
	struct btf_question q[] = {
		{ .what = BTF_OF_FUNCTION, .name = NAME },
		{ .what = BTF_OF_MEMBER, .name = STRUCT, .member = MEMBER },
	};

	btf_ask(types, q, ARRAY_SIZE(q));
	/* No policy on a kernel for one node. Or it is not found: then each mapping is asked for it. */
	const int64_t function = q[0].answer, policy = q[1].answer;
	const struct bpf_insn insns[] = {
		LOAD(R6, R1, CTX_VMA),
		SKIP_IF_ZERO(R6, 17), /* the call after the last */
		LOAD(R1, R1, CTX_META),
		LOAD(R1, R1, META_SEQ),
		LOAD(R2, R6, VM_START), STORE(FRAME, WORD, R2),
		LOAD(R2, R6, VM_END), STORE(FRAME, WORD + 8, R2),
		LOAD(R2, R6, VM_FLAGS), STORE(FRAME, WORD + 16, R2),
		policy < 0 ? (struct bpf_insn)SET(R2, 1)
		           : (struct bpf_insn)LOAD(R2, R6, (int16_t)policy),
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
	if (function < 0)
		return crcore_fail(err, -ENOTSUP, "the kernel does not describe " NAME);
	int r = bpf_iterator(function, insns, ARRAY_SIZE(insns), "cr_flags");
	return r < 0 ? crcore_fail(err, r, "the kernel takes no program: %s", strerror(-r)) : r;
}

/* ---- the words -------------------------------------------------------------------------- */

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
	cleanup_close int fd = bpf_iterate(program, pid);
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
