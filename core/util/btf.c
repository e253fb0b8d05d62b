/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See btf.h. The description is a list of types, one after the other, numbered from 1 on, with
 * their names in a heap of strings (Documentation/bpf/btf.rst in the kernel). It is several
 * megabytes, so it is mapped where the kernel can do that (Linux 6.16), and gone through once.
 */
#include <linux/btf.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "core/util/btf.h"
#include "core/util/util.h"

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

/* Names are the same text where they are the same place among the strings. */
static void find_names(const char *strings, size_t len, struct btf_question *v, unsigned n)
{
	char name[64];

	for (unsigned i = 0; i < n; i++) {
		int size = snprintf(name, sizeof(name), "%c%s", 0, v[i].name) + 1;
		const char *at = (size_t)size <= sizeof(name) ? memmem(strings, len, name, (size_t)size)
		                                             : NULL;
		v[i].text = at ? (uint32_t)(at + 1 - strings) : 0;
		v[i].inner = 0;
	}
}

/* A member may be one of a struct inside that has no name, which comes later in the list. */
static void find_member(struct btf_question *q, const struct btf_type *t, const char *strings,
                        size_t len)
{
	const struct btf_member *m = (const void *)(t + 1);

	q->inner = 0;
	for (unsigned i = 0; i < BTF_INFO_VLEN(t->info); i++) {
		const uint32_t at = BTF_INFO_KFLAG(t->info) ? BTF_MEMBER_BIT_OFFSET(m[i].offset)
		                                            : m[i].offset;
		if (m[i].name_off < len && !strcmp(strings + m[i].name_off, q->member)) {
			q->answer = at / 8;
			return;
		}
		if (!m[i].name_off && !at)
			q->inner = m[i].type;
	}
}

static bool look_at(struct btf_question *q, const struct btf_type *t, uint32_t number,
                    const char *strings, size_t len)
{
	const uint32_t kind = BTF_INFO_KIND(t->info);

	if (q->answer >= 0 || !q->text)
		return false;
	if (number != q->inner && (t->name_off != q->text ||
	    kind != (q->what == BTF_OF_FUNCTION ? BTF_KIND_FUNC : BTF_KIND_STRUCT)))
		return false;
	if (q->what == BTF_OF_MEMBER)
		find_member(q, t, strings, len);
	else
		q->answer = q->what == BTF_OF_SIZE ? t->size : number;
	return q->answer >= 0;
}

static void look_through(const char *text, size_t len, struct btf_question *v, unsigned n)
{
	const struct btf_header *h = (const void *)text;
	unsigned left = n;

	if (len < sizeof(*h) || h->magic != BTF_MAGIC || !h->str_len ||
	    (uint64_t)h->hdr_len + h->str_off + h->str_len > len ||
	    (uint64_t)h->hdr_len + h->type_off + h->type_len > len)
		return;
	const char *strings = text + h->hdr_len + h->str_off;
	if (strings[h->str_len - 1])
		return;
	find_names(strings, h->str_len, v, n);
	const char *at = text + h->hdr_len + h->type_off, *end = at + h->type_len;
	for (uint32_t number = 1; left && (size_t)(end - at) >= sizeof(struct btf_type); number++) {
		const struct btf_type *t = (const void *)at;
		int more = more_bytes(t->info);
		if (more < 0 || end - at - (ptrdiff_t)sizeof(*t) < more)
			return;
		for (unsigned i = 0; i < n; i++)
			left -= look_at(&v[i], t, number, strings, h->str_len);
		at += sizeof(*t) + (size_t)more;
	}
}

void btf_ask(int types, struct btf_question *v, unsigned n)
{
	struct stat st;

	for (unsigned i = 0; i < n; i++)
		v[i].answer = -1;
	if (types < 0 || fstat(types, &st) < 0 || st.st_size <= 0)
		return;
	size_t len = (size_t)st.st_size;
	char *text = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, types, 0);
	if (text != MAP_FAILED) {
		look_through(text, len, v, n);
		munmap(text, len);
		return;
	}
	cleanup_free char *copy = malloc(len);
	if (copy && pread(types, copy, len, 0) == (ssize_t)len)
		look_through(copy, len, v, n);
}
