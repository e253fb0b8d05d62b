/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Printing: as YAML that loads again as the same policy, whatever the values
 * hold; with comments that say where each value is from, for people; as JSON.
 */
#include "core/policy/internal.h"
#include "core/util/json.h"
#include "core/util/util.h"

#define COMMENT_COLUMN 44

struct printer {
	FILE *f;
	bool comments; /* else: only what somebody set, for the manifest */
	int column;
};

/* One character at *s (valid UTF-8, or a byte of what is not). */
static unsigned decode(const unsigned char **s)
{
	const unsigned char *p = *s;
	unsigned n = *p < 0xc0 ? 0 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : 3;
	unsigned c = n ? *p & (0x3fu >> n) : *p;

	for (p++; n-- && (*p & 0xc0) == 0x80; p++)
		c = c << 6 | (*p & 0x3f);
	*s = p;
	return c;
}

/* Words that need no quotes; anything else gets some. */
static bool is_plain(const char *s)
{
	static const char set[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-.+=@";
	const char *special = strchr(set, '-'); /* from here on: not at the beginning */

	return *s && strspn(s, set) == strlen(s) && strchr(set, *s) < special && strcmp(s, "null");
}

static void put_text(struct printer *o, const char *s)
{
	if (is_plain(s)) {
		o->column += fprintf(o->f, "%s", s);
		return;
	}
	o->column += fprintf(o->f, "\"");
	for (const unsigned char *p = (const unsigned char *)s; *p;) {
		const unsigned char *from = p;
		unsigned c = decode(&p);
		if (c == '"' || c == '\\')
			o->column += fprintf(o->f, "\\%c", (int)c);
		else if (c < 0x20 || c == 0x7f || (c >= 0x80 && c <= 0xa0) || c == 0x2028 ||
		         c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff)
			o->column += fprintf(o->f, c < 0x100 ? "\\x%02x" : "\\u%04x", c);
		else
			o->column += fprintf(o->f, "%.*s", (int)(p - from), (const char *)from);
	}
	o->column += fprintf(o->f, "\"");
}

static void end_line(struct printer *o, const struct node *n)
{
	if (o->comments) {
		int pad = o->column < COMMENT_COLUMN ? COMMENT_COLUMN - o->column : 1;
		fprintf(o->f, "%*s# ", pad, "");
		for (const char *c = n->origin; *c; c++)
			fputc((unsigned char)*c < 0x20 ? '?' : *c, o->f);
		if (n->line)
			fprintf(o->f, ":%d", n->line);
	}
	fputc('\n', o->f);
	o->column = 0;
}

/* Does the manifest need it? Defaults are the business of whoever restores. */
static bool wanted(const struct printer *o, const struct node *n)
{
	if (o->comments || n->origin != origin_builtin)
		return true;
	for (const struct node *c = n->child; c; c = c->next)
		if (wanted(o, c))
			return true;
	return false;
}

static void put_node(struct printer *o, const struct node *n, int depth)
{
	const struct node *some = n->child;

	while (some && !wanted(o, some))
		some = some->next;
	o->column = fprintf(o->f, "%*s", depth * 2, "");
	if (n->key) {
		put_text(o, n->key);
		o->column += fprintf(o->f, ":");
	} else {
		o->column += fprintf(o->f, "-");
	}
	if (n->type == NODE_SCALAR) {
		o->column += fprintf(o->f, " ");
		put_text(o, n->text);
		end_line(o, n);
	} else if (!some) {
		o->column += fprintf(o->f, n->type == NODE_MAP ? " {}" : " []");
		end_line(o, n);
	} else {
		fputc('\n', o->f);
		for (const struct node *c = n->child; c; c = c->next)
			if (wanted(o, c))
				put_node(o, c, depth + 1);
	}
}

static void put_json(struct json *j, const struct node *n)
{
	if (n->type == NODE_SCALAR) {
		json_object(j, n->key);
		json_string(j, "value", n->text);
		json_string(j, "origin", n->origin);
		if (n->line) {
			json_int(j, "line", n->line);
			json_int(j, "column", n->column);
		}
		json_end(j);
		return;
	}
	if (n->type == NODE_MAP)
		json_object(j, n->key);
	else
		json_array(j, n->key);
	for (const struct node *c = n->child; c; c = c->next)
		put_json(j, c);
	json_end(j);
}

int policy_print(const struct policy *p, FILE *f, bool json)
{
	struct printer o = { .f = f, .comments = true };
	struct json j = JSON_INIT(f);

	if (json)
		put_json(&j, p->root);
	for (const struct node *c = json ? NULL : p->root->child; c; c = c->next)
		put_node(&o, c, 0);
	return ferror(f) ? -EIO : 0;
}

char *policy_text(const struct policy *p, size_t *ret_len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_len);

	if (!f)
		return NULL;
	struct printer o = { .f = f };
	for (const struct node *c = p->root->child; c; c = c->next)
		if (wanted(&o, c) || !strcmp(c->key, "version"))
			put_node(&o, c, 0);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}
