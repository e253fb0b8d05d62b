/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * BPF programs, written instruction by instruction: they are short, and neither a compiler nor
 * a library is needed. Some of them must be under the GPL; hence the first line.
 */
#ifndef PLUGINS_BPF_PROGRAM_H
#define PLUGINS_BPF_PROGRAM_H

#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int bpf(int command, union bpf_attr *a)
{
	int r = (int)syscall(SYS_bpf, command, a, sizeof(*a));

	return r < 0 ? -errno : r;
}

/* The offset of a jump is a label until code_end(). */
struct code {
	struct bpf_insn v[128];
	int n, at[8];
};

static inline void op(struct code *c, int code, int dst, int src, int off, int imm)
{
	c->v[c->n++] = (struct bpf_insn){ .code = (uint8_t)code, .dst_reg = (uint8_t)(dst & 15),
		.src_reg = (uint8_t)(src & 15), .off = (int16_t)off, .imm = imm };
}

static inline void set(struct code *c, int reg, int value)
{
	op(c, BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, value);
}

static inline void move(struct code *c, int reg, int from)
{
	op(c, BPF_ALU64 | BPF_MOV | BPF_X, reg, from, 0, 0);
}

/* size: BPF_W and the like. Memory at an offset from where a register points to. */
static inline void load(struct code *c, int size, int reg, int from, int off)
{
	op(c, BPF_LDX | BPF_MEM | size, reg, from, off, 0);
}

static inline void store(struct code *c, int size, int to, int off, int reg)
{
	op(c, BPF_STX | BPF_MEM | size, to, reg, off, 0);
}

/* Its register becomes the address of a place on the stack. */
static inline void point(struct code *c, int reg, int place)
{
	move(c, reg, 10);
	op(c, BPF_ALU64 | BPF_ADD | BPF_K, reg, 0, 0, place);
}

static inline void call(struct code *c, int helper)
{
	op(c, BPF_JMP | BPF_CALL, 0, 0, 0, helper);
}

/* Labels are numbers from 1 on. */
static inline void jump(struct code *c, int how, int reg, int imm, int label)
{
	op(c, BPF_JMP | how | BPF_K, reg, 0, label, imm);
}

static inline void label_here(struct code *c, int label) { c->at[label] = c->n; }

static inline void point_to_map(struct code *c, int reg, int map)
{
	op(c, BPF_LD | BPF_DW | BPF_IMM, reg, BPF_PSEUDO_MAP_FD, 0, map);
	op(c, 0, 0, 0, 0, 0);
}

static inline void leave(struct code *c, int result)
{
	set(c, 0, result);
	op(c, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static inline void code_end(struct code *c)
{
	for (int i = 0; i < c->n; i++)
		if (BPF_CLASS(c->v[i].code) == BPF_JMP && c->v[i].off)
			c->v[i].off = (int16_t)(c->at[c->v[i].off] - i - 1);
}

/* A descriptor of the program; a says what sort it is of. */
static inline int code_load(struct code *c, union bpf_attr *a, const char *license,
                            const char *name)
{
	code_end(c);
	a->insns = (uintptr_t)c->v;
	a->insn_cnt = (uint32_t)c->n;
	a->license = (uintptr_t)license;
	snprintf(a->prog_name, sizeof(a->prog_name), "%s", name);
	for (int i = 0;; i++) {
		int r = bpf(BPF_PROG_LOAD, a);
		if (r != -EAGAIN || i == 10) /* that: a signal is pending, whatever becomes of it */
			return r;
	}
}

#endif
