/* SPDX-License-Identifier: Apache-2.0 */
/* See text.h. Output is safe for a terminal whatever the bytes are. */
#include "core/util/text.h"
#include <inttypes.h>
#include <stdbool.h>

unsigned utf8_len(const unsigned char *s, size_t n)
{
	unsigned len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 :
	               s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	if (!len || len > n)
		return 0;
	for (unsigned i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return len;
}

static bool is_control(const unsigned char *s, unsigned len)
{
	return (len == 1 && (*s < 0x20 || *s == 0x7f)) || (len == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

void print_text(FILE *f, const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s, *end = p + len;

	while (p < end) {
		unsigned n = utf8_len(p, (size_t)(end - p));
		if (*p == '\\' || *p == '\n' || *p == '\t')
			fprintf(f, "\\%c", *p == '\\' ? '\\' : *p == '\n' ? 'n' : 't');
		else if (n && !is_control(p, n))
			fwrite(p, 1, n, f);
		else
			for (unsigned i = 0; i < (n ? n : 1); i++)
				fprintf(f, "\\x%02x", p[i]);
		p += n ? n : 1;
	}
}

char *size_text(uint64_t bytes, char ret[SIZE_TEXT_MAX])
{
	static const char *const unit[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	unsigned u = 0;

	if (bytes < 1024) {
		snprintf(ret, SIZE_TEXT_MAX, bytes ? "%u bytes" : "%u", (unsigned)bytes);
		return ret;
	}
	uint64_t v = bytes;
	while (v >= 1024 * 1024) {
		v /= 1024;
		u++;
	}
	uint64_t tenths = v % 1024 * 10 / 1024;
	if (v / 1024 < 10 && tenths)
		snprintf(ret, SIZE_TEXT_MAX, "%" PRIu64 ".%" PRIu64 " %s", v / 1024, tenths, unit[u]);
	else
		snprintf(ret, SIZE_TEXT_MAX, "%" PRIu64 " %s", v / 1024, unit[u]);
	return ret;
}
