/* SPDX-License-Identifier: Apache-2.0 */
/* See tar.h. Numbers are octal text, or binary with the first bit set if they are too large. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "core/image/tar.h"

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100];
	char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is a block");

#define OCTAL_MAX 077777777777ull /* of a size */

static void put_size(char to[12], uint64_t v)
{
	if (v <= OCTAL_MAX) {
		char text[13];
		snprintf(text, sizeof(text), "%011llo", (unsigned long long)v);
		memcpy(to, text, 12);
		return;
	}
	memset(to, 0, 12);
	to[0] = (char)0x80;
	for (int i = 11; v; i--, v >>= 8)
		to[i] = (char)v;
}

static bool get_octal(const char *p, size_t n, uint64_t *ret)
{
	*ret = 0;
	while (n && *p == ' ')
		p++, n--;
	for (; n && *p >= '0' && *p <= '7'; p++, n--) {
		if (*ret >> 60)
			return false;
		*ret = *ret << 3 | (uint64_t)(*p - '0');
	}
	return !n || !*p || *p == ' ';
}

static bool get_size(const char from[12], uint64_t *ret)
{
	if (!((unsigned char)from[0] & 0x80))
		return get_octal(from, 12, ret);
	*ret = 0;
	if ((unsigned char)from[0] != 0x80 || memcmp(from + 1, "\0\0", 3))
		return false;
	for (int i = 4; i < 12; i++)
		*ret = *ret << 8 | (unsigned char)from[i];
	return *ret <= INT64_MAX;
}

/* Of all bytes, those of the sum itself counted as spaces. */
static unsigned sum_of(const unsigned char *block)
{
	unsigned sum = 8 * ' ';

	for (size_t i = 0; i < TAR_BLOCK; i++)
		if (i < offsetof(struct header, sum) || i >= offsetof(struct header, type))
			sum += block[i];
	return sum;
}

bool tar_put(unsigned char block[TAR_BLOCK], const char *name, uint64_t size, uint64_t mtime)
{
	struct header h = { .type = '0', .mode = "0000600", .uid = "0000000", .gid = "0000000",
		            .magic = "ustar", .version = { '0', '0' } };
	char text[8];

	if (strlen(name) > sizeof(h.name))
		return false;
	memcpy(h.name, name, strlen(name));
	put_size(h.size, size);
	put_size(h.mtime, mtime);
	memcpy(block, &h, TAR_BLOCK);
	snprintf(text, sizeof(text), "%06o", sum_of(block));
	memcpy(block + offsetof(struct header, sum), text, 7);
	block[offsetof(struct header, sum) + 7] = ' ';
	return true;
}

int tar_get(const unsigned char block[TAR_BLOCK], struct tar_entry *ret)
{
	static const unsigned char none[TAR_BLOCK];
	struct header h;
	uint64_t sum;

	if (!memcmp(block, none, TAR_BLOCK))
		return 0;
	memcpy(&h, block, TAR_BLOCK);
	if (memcmp(h.magic, "ustar", 5) || !get_octal(h.sum, sizeof(h.sum), &sum) ||
	    sum != sum_of(block) || h.prefix[0] || (h.type && h.type != '0' && h.type != '5') ||
	    !get_size(h.size, &ret->size))
		return -1;
	memcpy(ret->name, h.name, sizeof(h.name));
	ret->name[sizeof(h.name)] = 0;
	ret->folder = h.type == '5';
	return 1;
}
