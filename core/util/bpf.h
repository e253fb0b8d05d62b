/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Programs that the kernel runs for each of something and that write down what they see
 * (BPF_TRACE_ITER), instruction by instruction: they are short, and neither a compiler nor a
 * library is needed. The functions that they call the kernel lends only to programs under the
 * GPL; hence the first line.
 */
#ifndef CRCORE_UTIL_BPF_H
#define CRCORE_UTIL_BPF_H

#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include "core/util/util.h"

#define INSN(code_, dst, src, off_, imm_) \
	{ .code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (off_), .imm = (imm_) }
#define LOAD(dst, src, off) INSN(BPF_LDX | BPF_MEM | BPF_DW, dst, src, off, 0)
#define STORE(dst, off, src) INSN(BPF_STX | BPF_MEM | BPF_DW, dst, src, off, 0)
#define CLEAR(dst, off) INSN(BPF_ST | BPF_MEM | BPF_DW, dst, 0, off, 0)
#define COPY(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define SET(dst, imm) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define ADD(dst, imm) INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, imm)
#define ADD_TO(dst, src) INSN(BPF_ALU64 | BPF_ADD | BPF_X, dst, src, 0, 0)
#define TIMES(dst, imm) INSN(BPF_ALU64 | BPF_MUL | BPF_K, dst, 0, 0, imm)
#define SKIP_IF_ZERO(reg, n) INSN(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, n, 0)
#define SKIP_IF_SET(reg, n) INSN(BPF_JMP | BPF_JNE | BPF_K, reg, 0, n, 0)
#define SKIP_IF_EQUAL(reg, other, n) INSN(BPF_JMP | BPF_JEQ | BPF_X, reg, other, n, 0)
#define CALL_HELPER(number) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, number)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

enum { R0, R1, R2, R3, R4, R6 = 6, R7, FRAME = 10 };

static inline int bpf(int command, union bpf_attr *attr)
{
	int r = (int)syscall(SYS_bpf, command, attr, sizeof(*attr));

	return r < 0 ? -errno : r;
}

/* A program for the iterator whose function has that number (btf.h). */
static inline int bpf_iterator(int64_t function, const struct bpf_insn *insns, size_t n,
                               const char *name)
{
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_TRACING, .expected_attach_type = BPF_TRACE_ITER,
		.insns = (uintptr_t)insns, .insn_cnt = (uint32_t)n, .license = (uintptr_t)"GPL",
	};
	int r = -EAGAIN; /* that: a signal is pending, whatever becomes of it */

	attr.attach_btf_id = (uint32_t)function;
	snprintf(attr.prog_name, sizeof(attr.prog_name), "%s", name);
	for (int i = 0; r == -EAGAIN && i < 10; i++)
		r = bpf(BPF_PROG_LOAD, &attr);
	return r;
}

/* A descriptor that gives what the program writes as it is read: of a thread, 0: of all that are
 * in our pid namespace. */
static inline int bpf_iterate(int program, pid_t tid)
{
	union bpf_iter_link_info info = { .task.tid = (uint32_t)tid };
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
#endif
