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

/* Length of the character at s; *fit: it may be shown as it is. */
static unsigned character(const unsigned char *s, size_t n, bool *fit)
{
	unsigned len = utf8_len(s, n);

	*fit = len && !is_control(s, len);
	return len ? len : 1;
}

void print_text(FILE *f, const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s, *end = p + len;
	unsigned n;
	bool fit;

	for (; p < end; p += n) {
		n = character(p, (size_t)(end - p), &fit);
		if (*p == '\\' || *p == '\n' || *p == '\t')
			fprintf(f, "\\%c", *p == '\\' ? '\\' : *p == '\n' ? 'n' : 't');
		else if (fit)
			fwrite(p, 1, n, f);
		else
			for (unsigned i = 0; i < n; i++)
				fprintf(f, "\\x%02x", p[i]);
	}
}

size_t line_text(char *to, size_t room, const char *s)
{
	const unsigned char *p = (const unsigned char *)s, *end = p + strlen(s);
	size_t used = 0;
	unsigned n;
	bool fit;

	for (; p < end; p += n) {
		n = character(p, (size_t)(end - p), &fit);
		if (used + (fit ? n : 4 * n) >= room)
			break;
		if (fit)
			memcpy(to + used, p, n);
		for (unsigned i = 0; !fit && i < n; i++)
			sprintf(to + used + 4 * i, "\\x%02x", p[i]);
		used += fit ? n : 4 * n;
	}
	to[used] = 0;
	return used;
}

char *error_text(const struct crcore_error *err, char ret[ERROR_TEXT_MAX])
{
	char text[ERROR_TEXT_MAX], pid[24] = "", fd[24] = "";

	if (err->pid >= 0)
		snprintf(pid, sizeof(pid), "pid %d: ", err->pid);
	if (err->fd >= 0)
		snprintf(fd, sizeof(fd), "fd %d: ", err->fd);
	snprintf(text, sizeof(text), "%s%s%s%s%s%s%s%s%s", err->plugin, err->plugin[0] ? ": " : "", pid,
	         fd, err->object, err->object[0] ? ": " : "",
	         err->message[0] ? err->message : strerror(-err->code), err->advice[0] ? "; " : "",
	         err->advice);
	line_text(ret, ERROR_TEXT_MAX, text);
	return ret;
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
