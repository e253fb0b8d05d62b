/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the running kernel says of its own types and functions (BTF): where members of its
 * structs are, and the numbers of its functions.
 */
#ifndef CRCORE_UTIL_BTF_H
#define CRCORE_UTIL_BTF_H

#include <stdint.h>

enum btf_what { BTF_OF_FUNCTION, BTF_OF_MEMBER, BTF_OF_SIZE };
struct btf_question {
	enum btf_what what;
	const char *name, *member; /* member: of the struct name; else NULL */
	int64_t answer;            /* a number, bytes from the beginning, bytes; -1: there is none */
	uint32_t text, inner;      /* these belong to btf.c */
};
/* Answers them all in one look. types: open, of /sys/kernel/btf/vmlinux; < 0: nothing is known. */
void btf_ask(int types, struct btf_question *, unsigned n);
#endif
