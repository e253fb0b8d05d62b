/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See btf.h. Types are numbered from 1 in the order in which they follow each other,
 * each as long as its kind and its number of members say; Documentation/bpf/btf.rst
 * in the kernel has the format.
 */
#include "plugins/peek/btf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "plugins/util.h"

#define KNOWN 16 /* structs that are looked up again and again */
#define DEEP 16

struct types {
	char *bytes;
	size_t len;
	uint32_t *at;  /* by number: where in bytes */
	uint32_t n;
	const char *names;
	uint32_t names_len;
	uint32_t known[KNOWN], next_known;
};

/* ---- reading ------------------------------------------------------------------------ */

static int read_whole(int fd, char *to, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = read(fd, to + got, len - got);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		got += (size_t)n;
	}
	return 0;
}

static int get_bytes(struct types *b)
{
	cleanup_close int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	b->len = (size_t)st.st_size;
	p = mmap(NULL, b->len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p != MAP_FAILED) {
		b->bytes = p;
		return 0;
	}
	p = mmap(NULL, b->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	b->bytes = p;
	return read_whole(fd, p, b->len);
}

static const struct btf_type *type_at(const struct types *b, uint32_t n)
{
	return n && n < b->n ? (const struct btf_type *)(const void *)(b->bytes + b->at[n]) : NULL;
}

static const char *name_at(const struct types *b, uint32_t offset)
{
	return offset < b->names_len ? b->names + offset : "";
}

/* What follows a type's head. */
static size_t tail_of(const struct btf_type *t)
{
	static const uint8_t once[BTF_KIND_MAX + 1] = {
		[BTF_KIND_INT] = sizeof(uint32_t), [BTF_KIND_ARRAY] = sizeof(struct btf_array),
		[BTF_KIND_VAR] = sizeof(struct btf_var), [BTF_KIND_DECL_TAG] = sizeof(struct btf_decl_tag),
	};
	static const uint8_t each[BTF_KIND_MAX + 1] = {
		[BTF_KIND_STRUCT] = sizeof(struct btf_member), [BTF_KIND_UNION] = sizeof(struct btf_member),
		[BTF_KIND_ENUM] = sizeof(struct btf_enum), [BTF_KIND_ENUM64] = sizeof(struct btf_enum64),
		[BTF_KIND_FUNC_PROTO] = sizeof(struct btf_param),
		[BTF_KIND_DATASEC] = sizeof(struct btf_var_secinfo),
	};
	unsigned kind = BTF_INFO_KIND(t->info);

	if (kind > BTF_KIND_MAX)
		return SIZE_MAX / 2; /* a kind that we do not know: past the end */
	return once[kind] + (size_t)each[kind] * BTF_INFO_VLEN(t->info);
}

static int count_types(struct types *b, size_t begin, size_t end)
{
	uint32_t room = 1 << 17;

	b->at = malloc(room * sizeof(*b->at));
	b->n = 1;
	while (b->at && begin + sizeof(struct btf_type) <= end) {
		if (b->n == room) {
			void *more = realloc(b->at, (room *= 2) * sizeof(*b->at));
			if (!more)
				return -ENOMEM;
			b->at = more;
		}
		b->at[b->n++] = (uint32_t)begin;
		begin += sizeof(struct btf_type);
		begin += tail_of((const struct btf_type *)(const void *)(b->bytes + begin) - 1);
	}
	return !b->at ? -ENOMEM : begin == end ? 0 : -EBADMSG;
}

static int understand(struct types *b)
{
	const struct btf_header *h = (const struct btf_header *)(const void *)b->bytes;
	uint64_t types, types_end, names;

	if (b->len < sizeof(*h) || h->magic != BTF_MAGIC || h->version != BTF_VERSION)
		return -EBADMSG;
	types = (uint64_t)h->hdr_len + h->type_off;
	types_end = types + h->type_len;
	names = (uint64_t)h->hdr_len + h->str_off;
	if (types_end > b->len || names + h->str_len > b->len || !h->str_len ||
	    b->bytes[names + h->str_len - 1])
		return -EBADMSG;
	b->names = b->bytes + names;
	b->names_len = h->str_len;
	return count_types(b, types, types_end);
}

int types_open(struct types **ret)
{
	struct types *b = calloc(1, sizeof(*b));
	int r = b ? get_bytes(b) : -ENOMEM;

	if (r == 0)
		r = understand(b);
	if (r == 0)
		*ret = b;
	else
		types_free(b);
	return r;
}

void types_free(struct types *b)
{
	if (!b)
		return;
	if (b->bytes)
		munmap(b->bytes, b->len);
	free(b->at);
	free(b);
}

/* ---- finding ------------------------------------------------------------------------ */

static uint32_t find_struct(struct types *b, const char *name)
{
	for (unsigned i = 0; i < KNOWN; i++) {
		const struct btf_type *t = type_at(b, b->known[i]);
		if (t && !strcmp(name_at(b, t->name_off), name))
			return b->known[i];
	}
	for (uint32_t i = 1; i < b->n; i++) {
		const struct btf_type *t = type_at(b, i);
		if (BTF_INFO_KIND(t->info) == BTF_KIND_STRUCT && !strcmp(name_at(b, t->name_off), name))
			return b->known[b->next_known++ % KNOWN] = i;
	}
	return 0;
}

/* Without typedef, const and the like. */
static const struct btf_type *plain(const struct types *b, uint32_t n, unsigned *ret_kind)
{
	const struct btf_type *t = type_at(b, n);

	for (int i = 0; t && i < DEEP; i++, t = type_at(b, t->type)) {
		*ret_kind = BTF_INFO_KIND(t->info);
		if (*ret_kind != BTF_KIND_TYPEDEF && *ret_kind != BTF_KIND_VOLATILE &&
		    *ret_kind != BTF_KIND_CONST && *ret_kind != BTF_KIND_RESTRICT &&
		    *ret_kind != BTF_KIND_TYPE_TAG)
			return t;
	}
	return NULL;
}

static uint32_t size_of(const struct types *b, uint32_t n)
{
	unsigned kind = 0;
	const struct btf_type *t = plain(b, n, &kind);
	const struct btf_array *a = (const struct btf_array *)(const void *)(t + 1);

	if (!t || kind == BTF_KIND_PTR)
		return sizeof(void *);
	return kind == BTF_KIND_ARRAY ? a->nelems * size_of(b, a->type) : t->size;
}

/* A member of the type number n. The first part of path may be a member of a struct
 * without a name in it. */
static int find_in(const struct types *b, uint32_t n, const char *path, int deep,
                   struct btf_place *ret)
{
	unsigned kind = 0;
	const struct btf_type *t = plain(b, n, &kind);
	const struct btf_member *m = (const struct btf_member *)(const void *)(t + 1);
	size_t len = strcspn(path, ".");

	if (!t || (kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION) || deep > DEEP)
		return -ENOENT;
	for (const struct btf_member *end = m + BTF_INFO_VLEN(t->info); m < end; m++) {
		const char *name = name_at(b, m->name_off);
		bool named = !strncmp(name, path, len) && !name[len];
		uint32_t bits = BTF_INFO_KFLAG(t->info) ? BTF_MEMBER_BIT_OFFSET(m->offset) : m->offset;
		if (named && !path[len]) {
			*ret = (struct btf_place){ .size = size_of(b, m->type) };
			ret->bits = BTF_INFO_KFLAG(t->info) ? BTF_MEMBER_BITFIELD_SIZE(m->offset) : 0;
		} else if ((!named && *name) ||
		           find_in(b, m->type, named ? path + len + 1 : path, deep + 1, ret) < 0) {
			continue;
		}
		bits += ret->bit;
		ret->offset += bits / 8;
		ret->bit = bits % 8;
		return 0;
	}
	return -ENOENT;
}

int types_find(struct types *b, const char *type, const char *path, struct btf_place *ret)
{
	return find_in(b, find_struct(b, type), path, 0, ret);
}
