/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BTF is a list of types, one after the other, that refer to each other by their place in
 * it, from 1 on, and to their names by offsets.
 */
#include "plugins/bpf/btf.h"
#include "plugins/bpf/program.h"

#include <fcntl.h>
#include <linux/btf.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include "plugins/util.h"

#define DEEP 32 /* names of names of a type */

struct btf {
	char *bytes;
	size_t mapped; /* bytes that are mapped, 0: they are on the heap */
	const char *names;
	uint32_t names_len;
	const struct btf_type **types; /* [0] is not used */
	uint32_t ntypes;
};

/* ---- the list ---- */

/* Bytes that follow the head of a type. */
static size_t extra(uint32_t info)
{
	const size_t n = BTF_INFO_VLEN(info);

	switch (BTF_INFO_KIND(info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
	case BTF_KIND_DATASEC:
	case BTF_KIND_ENUM64:
		return 12 * n;
	case BTF_KIND_ENUM:
	case BTF_KIND_FUNC_PROTO:
		return 8 * n;
	default:
		return 0;
	}
}

static int list_types(struct btf *b, size_t len)
{
	const struct btf_header *h = (const void *)b->bytes;
	const char *at, *end;

	if (len < sizeof(*h) || (uint64_t)h->hdr_len + h->type_off + h->type_len > len ||
	    (uint64_t)h->hdr_len + h->str_off + h->str_len > len || !h->str_len)
		return -EBADMSG;
	b->names = b->bytes + h->hdr_len + h->str_off;
	b->names_len = h->str_len;
	at = b->bytes + h->hdr_len + h->type_off;
	end = at + h->type_len;
	b->types = calloc(h->type_len / sizeof(struct btf_type) + 1, sizeof(*b->types));
	if (!b->types)
		return -ENOMEM;
	for (b->ntypes = 1; at + sizeof(struct btf_type) <= end; b->ntypes++) {
		const struct btf_type *t = b->types[b->ntypes] = (const void *)at;
		at += sizeof(*t) + extra(t->info);
	}
	return at == end ? 0 : -EBADMSG;
}

static const char *name_of(const struct btf *b, uint32_t at)
{
	return at < b->names_len ? b->names + at : "";
}

static uint32_t find(const struct btf *b, uint32_t kind, const char *name)
{
	for (uint32_t i = 1; i < b->ntypes; i++)
		if (BTF_INFO_KIND(b->types[i]->info) == kind &&
		    !strcmp(name_of(b, b->types[i]->name_off), name))
			return i;
	return 0;
}

static const struct btf_type *type_at(const struct btf *b, uint32_t id)
{
	return id && id < b->ntypes ? b->types[id] : NULL;
}

/* Without the names that it has besides its own (typedef, const). */
static const struct btf_type *struct_at(const struct btf *b, uint32_t id)
{
	const struct btf_type *t = type_at(b, id);

	for (int i = 0; t && i < DEEP; i++) {
		const uint32_t kind = BTF_INFO_KIND(t->info);
		if (kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION)
			return t;
		if (kind == BTF_KIND_PTR || kind == BTF_KIND_ARRAY)
			return NULL;
		t = type_at(b, t->type);
	}
	return NULL;
}

/* ---- what is asked ---- */

int btf_function(const struct btf *b, const char *name)
{
	return (int)find(b, BTF_KIND_FUNC, name);
}

static uint32_t size_of(const struct btf *b, uint32_t id)
{
	const struct btf_type *t = type_at(b, id);
	const struct btf_array *array;
	uint64_t n = 1;

	for (int i = 0; t && i < DEEP; i++) {
		switch (BTF_INFO_KIND(t->info)) {
		case BTF_KIND_INT:
		case BTF_KIND_ENUM:
		case BTF_KIND_ENUM64:
		case BTF_KIND_STRUCT:
		case BTF_KIND_UNION:
			return (uint32_t)(n * t->size);
		case BTF_KIND_PTR:
			return (uint32_t)(n * sizeof(void *));
		case BTF_KIND_ARRAY:
			array = (const void *)(t + 1);
			n *= array->nelems;
			t = type_at(b, array->type);
			break;
		default: /* another name */
			t = type_at(b, t->type);
		}
	}
	return UINT32_MAX;
}

/* The first part of a path is a member of t, or of a struct without a name in it. */
static bool find_path(const struct btf *b, const struct btf_type *t, const char *path, int deep,
                      struct btf_bits *ret)
{
	const bool packed = t && BTF_INFO_KFLAG(t->info);
	const struct btf_member *m = t ? (const void *)(t + 1) : NULL;
	const uint32_t kind = t ? BTF_INFO_KIND(t->info) : BTF_KIND_UNKN;
	const size_t len = strcspn(path, ".");

	if (deep > DEEP || (kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION))
		return false;
	for (uint32_t i = 0; i < BTF_INFO_VLEN(t->info); i++) {
		const char *n = name_of(b, m[i].name_off);
		const uint32_t at = packed ? BTF_MEMBER_BIT_OFFSET(m[i].offset) : m[i].offset;
		const uint32_t field = packed ? BTF_MEMBER_BITFIELD_SIZE(m[i].offset) : 0;
		if (*n && (strncmp(n, path, len) != 0 || n[len]))
			continue;
		if (*n && !path[len])
			*ret = (struct btf_bits){ 0, field ? field : size_of(b, m[i].type) * 8 };
		else if (!find_path(b, struct_at(b, m[i].type), *n ? path + len + 1 : path, deep + 1, ret))
			continue;
		ret->first += at;
		return true;
	}
	return false;
}

bool btf_find_bits(const struct btf *b, const char *type, const char *path, struct btf_bits *ret)
{
	return find_path(b, type_at(b, find(b, BTF_KIND_STRUCT, type)), path, 0, ret);
}

bool btf_member(const struct btf *b, const char *type, const char *name, uint32_t *ret_offset,
                uint32_t *ret_size)
{
	struct btf_bits at;

	if (!btf_find_bits(b, type, name, &at) || at.first % 8 || at.n % 8)
		return false;
	*ret_offset = at.first / 8;
	*ret_size = at.n / 8;
	return true;
}

uint32_t btf_struct(const struct btf *b, const char *name)
{
	return find(b, BTF_KIND_STRUCT, name);
}

/* The member of a struct that has this bit, and its type; 0 of a bit field. */
static bool find_at(const struct btf *b, const struct btf_type *t, uint32_t bit,
                    struct btf_bits *ret, uint32_t *ret_type)
{
	const struct btf_member *m = (const void *)(t + 1);
	const bool packed = BTF_INFO_KFLAG(t->info);

	for (uint32_t i = 0; i < BTF_INFO_VLEN(t->info); i++) {
		const uint32_t at = packed ? BTF_MEMBER_BIT_OFFSET(m[i].offset) : m[i].offset;
		const uint32_t field = packed ? BTF_MEMBER_BITFIELD_SIZE(m[i].offset) : 0;
		const uint32_t n = field ? field : size_of(b, m[i].type) * 8;
		if (bit < at || bit - at >= n)
			continue;
		*ret = (struct btf_bits){ at, n };
		*ret_type = field ? 0 : m[i].type;
		return true;
	}
	return false;
}

bool btf_member_at(const struct btf *b, uint32_t number, uint32_t bit, struct btf_bits *ret)
{
	const struct btf_type *t = type_at(b, number);
	uint32_t first = 0;

	for (int i = 0; t && i < DEEP && BTF_INFO_KIND(t->info) == BTF_KIND_STRUCT; i++) {
		if (!find_at(b, t, bit - first, ret, &number))
			return false;
		first = ret->first += first;
		t = struct_at(b, number);
	}
	return first != 0 || bit < ret->n;
}

/* ---- asking the kernel ---- */

static int describe(int fd, struct bpf_btf_info *info)
{
	union bpf_attr a = { .info = { .bpf_fd = (uint32_t)fd, .info_len = sizeof(*info),
		.info = (uintptr_t)info } };

	return bpf(BPF_OBJ_GET_INFO_BY_FD, &a);
}

/* A descriptor of what it says of itself, not of modules. */
static int find_kernel(uint32_t *ret_size)
{
	union bpf_attr next = { .start_id = 0 };
	char name[16];
	int r;

	while ((r = bpf(BPF_BTF_GET_NEXT_ID, &next)) == 0) {
		union bpf_attr a = { .btf_id = next.next_id };
		cleanup_close int fd = bpf(BPF_BTF_GET_FD_BY_ID, &a);
		struct bpf_btf_info info = { .name = (uintptr_t)name, .name_len = sizeof(name) };
		next.start_id = next.next_id;
		if (fd < 0 || describe(fd, &info) < 0 || !info.kernel_btf || strcmp(name, "vmlinux"))
			continue;
		*ret_size = info.btf_size;
		r = fd;
		fd = -1;
		return r;
	}
	return r;
}

/* A copy, which any kernel gives. */
static int copy_bytes(struct btf *b, size_t *ret_len)
{
	struct bpf_btf_info info = { 0 };
	uint32_t size = 0;
	cleanup_close int fd = find_kernel(&size);

	if (fd < 0)
		return fd;
	b->bytes = malloc(size);
	info.btf = (uintptr_t)b->bytes;
	info.btf_size = *ret_len = size;
	return b->bytes ? describe(fd, &info) : -ENOMEM;
}

/* The kernel's own, since Linux 6.16: of the pages only those are touched that are looked at.
 * It must be the kernel's file, whatever else is mounted there. */
static bool map_bytes(struct btf *b, size_t *ret_len)
{
	cleanup_close int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);
	struct statfs fs;
	struct stat st;

	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != SYSFS_MAGIC || fstat(fd, &st) < 0)
		return false;
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return false;
	b->bytes = p;
	b->mapped = *ret_len = (size_t)st.st_size;
	return true;
}

int btf_open(struct btf **ret)
{
	struct btf *b = calloc(1, sizeof(*b));
	size_t len = 0;
	int r = b ? 0 : -ENOMEM;

	if (b && !map_bytes(b, &len))
		r = copy_bytes(b, &len);
	if (r == 0)
		r = list_types(b, len);
	if (r == 0)
		*ret = b;
	else
		btf_close(b);
	return r;
}

void btf_close(struct btf *b)
{
	if (!b)
		return;
	if (b->mapped)
		munmap(b->bytes, b->mapped);
	else
		free(b->bytes);
	free(b->types);
	free(b);
}
