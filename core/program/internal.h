/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a task program under construction, for the files of this folder. */
#ifndef CRCORE_PROGRAM_INTERNAL_H
#define CRCORE_PROGRAM_INTERNAL_H

#include "core/program/program.h"

#define PROG_STACK 1024  /* the interpreter uses a few hundred bytes, and takes no signals */
#define PROG_ALIGN 64
#define PROG_DATA_ALIGN 16

enum { PROG_HEAD = 0x100 }; /* of arguments: value bytes into the program's own struct program */

struct prog_op {
	const char *label;
	struct crcore_arg arg[6];
	int64_t want;
	uint32_t nr;
	uint16_t code;
	uint8_t expect;
};

struct prog_ref { size_t offset, len; };
struct prog_pointer { uint32_t at, to; uint64_t at_offset, to_offset; };

struct crcore_program {
	struct prog_op *ops;
	uint32_t nops;
	struct prog_ref *refs;
	uint32_t nrefs;
	struct prog_pointer *pointers; /* addresses of data in data */
	uint32_t npointers;
	uint8_t *data;
	size_t data_len, data_cap;
	int broken;    /* errno of the first append that failed */
	uint8_t *local; /* struct program, as placed; NULL: not placed */
};

/* Offsets in a placed program: struct program, ops, data, stack. */
size_t prog_ops_offset(void);
size_t prog_data_offset(const prog *);

#endif
