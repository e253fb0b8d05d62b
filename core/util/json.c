/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer. Nesting past JSON_DEPTH is a bug of the caller: abort(), never bad output. */
#include "core/util/json.h"
#include "core/util/text.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void write_string(FILE *f, const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s, *end = p + len;

	fputc('"', f);
	while (p < end) {
		unsigned n = utf8_len(p, (size_t)(end - p));
		if (!n) {
			fputs("\\ufffd", f);
			n = 1;
		} else if (n > 1) {
			fwrite(p, 1, n, f);
		} else if (*p == '"' || *p == '\\') {
			fputc('\\', f);
			fputc(*p, f);
		} else if (*p == '\n') {
			fputs("\\n", f);
		} else if (*p == '\t') {
			fputs("\\t", f);
		} else if (*p < 0x20 || *p == 0x7f) {
			fprintf(f, "\\u%04x", *p);
		} else {
			fputc(*p, f);
		}
		p += n;
	}
	fputc('"', f);
}

static void new_line(struct json *j)
{
	fputc('\n', j->f);
	for (unsigned i = 0; i < j->depth; i++)
		fputs("  ", j->f);
}

/* What stands before a value: comma, line, key. */
static void begin(struct json *j, const char *key)
{
	if (j->depth) {
		if (j->some[j->depth - 1])
			fputc(',', j->f);
		j->some[j->depth - 1] = true;
		new_line(j);
	}
	if (key) {
		write_string(j->f, key, strlen(key));
		fputs(": ", j->f);
	}
}

static void open_level(struct json *j, const char *key, char opening, char closing)
{
	begin(j, key);
	if (j->depth == JSON_DEPTH)
		abort();
	fputc(opening, j->f);
	j->close[j->depth] = closing;
	j->some[j->depth++] = false;
}

void json_object(struct json *j, const char *key)
{
	open_level(j, key, '{', '}');
}

void json_array(struct json *j, const char *key)
{
	open_level(j, key, '[', ']');
}

void json_end(struct json *j)
{
	if (!j->depth)
		abort();
	j->depth--;
	if (j->some[j->depth])
		new_line(j);
	fputc(j->close[j->depth], j->f);
	if (!j->depth)
		fputc('\n', j->f);
}

void json_string(struct json *j, const char *key, const char *s)
{
	if (s)
		json_string_len(j, key, s, strlen(s));
	else
		json_null(j, key);
}

void json_string_len(struct json *j, const char *key, const char *s, size_t len)
{
	begin(j, key);
	write_string(j->f, s, len);
}

void json_int(struct json *j, const char *key, int64_t v)
{
	begin(j, key);
	fprintf(j->f, "%" PRId64, v);
}

void json_uint(struct json *j, const char *key, uint64_t v)
{
	begin(j, key);
	fprintf(j->f, "%" PRIu64, v);
}

void json_hex(struct json *j, const char *key, uint64_t v)
{
	begin(j, key);
	fprintf(j->f, "\"0x%" PRIx64 "\"", v);
}

void json_bool(struct json *j, const char *key, bool v)
{
	begin(j, key);
	fputs(v ? "true" : "false", j->f);
}

void json_null(struct json *j, const char *key)
{
	begin(j, key);
	fputs("null", j->f);
}
