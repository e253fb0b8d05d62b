/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What crcore says of an error. It is one line, whatever the names in it hold,
 * since scripts read it and terminals obey control characters.
 */
#include "core/cli/cli.h"
#include "core/util/json.h"
#include "core/util/util.h"

struct line {
	char *s;
	size_t len, used;
};

static void add_text(struct line *l, const char *s)
{
	for (; *s && l->used + 5 < l->len; s++) {
		unsigned char c = (unsigned char)*s;
		if (c >= 0x20 && c != 0x7f)
			l->s[l->used++] = *s;
		else
			l->used += (size_t)sprintf(l->s + l->used, "\\x%02x", c);
	}
	l->s[l->used] = 0;
}

static void add_part(struct line *l, const char *s)
{
	if (!*s)
		return;
	add_text(l, s);
	add_text(l, ": ");
}

void error_text(const struct crcore_error *err, char *ret, size_t len)
{
	struct line l = { ret, len, 0 };
	char number[32];

	ret[0] = 0;
	add_part(&l, err->plugin);
	if (err->pid >= 0) {
		snprintf(number, sizeof(number), "pid %d", err->pid);
		add_part(&l, number);
	}
	if (err->fd >= 0) {
		snprintf(number, sizeof(number), "fd %d", err->fd);
		add_part(&l, number);
	}
	add_part(&l, err->object);
	add_text(&l, err->message[0] ? err->message : strerror(-err->code));
	if (err->advice[0]) {
		add_text(&l, "; ");
		add_text(&l, err->advice);
	}
}

static void error_json(const struct crcore_error *err)
{
	struct json j = JSON_INIT(stdout);
	char line[2048];

	error_text(err, line, sizeof(line));
	json_object(&j, NULL);
	json_object(&j, "error");
	json_int(&j, "errno", -err->code);
	if (err->plugin[0])
		json_string(&j, "plugin", err->plugin);
	if (err->pid >= 0)
		json_int(&j, "pid", err->pid);
	if (err->fd >= 0)
		json_int(&j, "fd", err->fd);
	if (err->object[0])
		json_string(&j, "object", err->object);
	json_string(&j, "message", err->message[0] ? err->message : strerror(-err->code));
	if (err->advice[0])
		json_string(&j, "advice", err->advice);
	json_string(&j, "text", line);
	json_end(&j);
	json_end(&j);
}

void report_error(const struct crcore_error *err, bool json)
{
	char line[2048];

	if (isatty(STDERR_FILENO)) /* progress may stand there */
		fputs("\r\033[K", stderr);
	if (json) {
		error_json(err);
		return;
	}
	error_text(err, line, sizeof(line));
	fprintf(stderr, "Error: %s\n", line);
}
