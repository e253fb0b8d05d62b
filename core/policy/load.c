/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML to nodes, by libyaml's events. The bytes may come from an image, so
 * they are untrusted: size, depth, number of nodes and of keys are bounded, and
 * what a policy has no use for (anchors, aliases, tags, several documents, keys
 * that are no words) is refused rather than interpreted. An alias could make a
 * page of text into gigabytes; refusing them makes that impossible.
 */
#include "core/policy/internal.h"
#include "core/util/util.h"
#include <yaml.h>

struct loader {
	yaml_parser_t parser;
	const char *origin;
	const char *bytes;
	size_t len;
	unsigned nodes;
	struct crcore_error *err;
};

static int fail_at(struct loader *l, const yaml_mark_t *m, int code, const char *message)
{
	crcore_fail_at(l->err, -1, -1, "%s:%zu:%zu", l->origin, m->line + 1, m->column + 1);
	return crcore_fail(l->err, code, "%s", message);
}

/* Where in the text the reader stopped: it counts bytes. */
static yaml_mark_t mark_of_offset(const struct loader *l, size_t offset)
{
	yaml_mark_t m = { 0 };

	for (size_t i = 0; i < offset && i < l->len; i++) {
		m.column = l->bytes[i] == '\n' ? 0 : m.column + 1;
		m.line += l->bytes[i] == '\n';
	}
	return m;
}

static int syntax_error(struct loader *l)
{
	const yaml_parser_t *p = &l->parser;
	char message[200];

	if (p->error == YAML_MEMORY_ERROR)
		return crcore_no_memory(l->err);
	snprintf(message, sizeof(message), "not YAML: %s%s%s", p->problem ? p->problem : "unreadable",
	         p->context ? " " : "", p->context ? p->context : "");
	yaml_mark_t mark = p->error == YAML_READER_ERROR ? mark_of_offset(l, p->problem_offset) :
	                                                  p->problem_mark;
	if (p->error == YAML_SCANNER_ERROR && mark.index < l->len && l->bytes[mark.index] == '\t')
		crcore_advise(l->err, "indent with spaces: a tab is no indentation in YAML");
	return fail_at(l, &mark, -EINVAL, message);
}

/* The next event; free it with yaml_event_delete(). */
static int next_event(struct loader *l, yaml_event_t *e)
{
	const char *anchor = NULL, *tag = NULL;

	if (!yaml_parser_parse(&l->parser, e))
		return syntax_error(l);
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		anchor = (const char *)e->data.scalar.anchor;
		tag = (const char *)e->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = (const char *)e->data.sequence_start.anchor;
		tag = (const char *)e->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = (const char *)e->data.mapping_start.anchor;
		tag = (const char *)e->data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (!anchor && !tag && e->type != YAML_ALIAS_EVENT)
		return 0;
	yaml_mark_t mark = e->start_mark;
	yaml_event_delete(e);
	if (tag)
		return fail_at(l, &mark, -EINVAL, "tags (!...) have no meaning in a policy");
	crcore_advise(l->err, "write the value out, in quotes if it begins with & or *");
	return fail_at(l, &mark, -EINVAL, "anchors (&...) and aliases (*...) are not part of a policy");
}

static bool is_null(const yaml_event_t *e)
{
	const char *s = (const char *)e->data.scalar.value;

	return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (!*s || !strcmp(s, "~") || !strcmp(s, "null"));
}

/* Copies the text of a scalar event. */
static int scalar_text(struct loader *l, const yaml_event_t *e, char **ret)
{
	const char *s = (const char *)e->data.scalar.value;

	if (strlen(s) != e->data.scalar.length)
		return fail_at(l, &e->start_mark, -EINVAL, "a value must not contain a NUL byte");
	*ret = strdup(is_null(e) ? "" : s);
	return *ret ? 0 : crcore_no_memory(l->err);
}

static int load_key(struct loader *l, const struct node *map, const yaml_event_t *e, char **ret)
{
	char *key;
	int r;

	if (e->type != YAML_SCALAR_EVENT)
		return fail_at(l, &e->start_mark, -EINVAL, "a key must be a word, not a list or a map");
	r = scalar_text(l, e, &key);
	if (r < 0)
		return r;
	bool clean = key[0] && strlen(key) <= POLICY_KEY_LEN_MAX;
	for (const char *c = key; *c; c++)
		clean &= (unsigned char)*c >= 0x20 && *c != 0x7f;
	if (!clean) {
		free(key);
		return fail_at(l, &e->start_mark, -EINVAL,
		               "a key must be one line of 1 to 255 bytes");
	}
	if (node_find(map, key)) {
		crcore_fail(l->err, -EEXIST, "duplicate key '%s'", key);
		free(key);
		return fail_at(l, &e->start_mark, -EEXIST, "");
	}
	*ret = key;
	return 0;
}

static int load_value(struct loader *l, const yaml_event_t *e, unsigned depth, struct node **ret);

/* The children of a list or map, up to the event that ends it. */
static int load_children(struct loader *l, struct node *parent, unsigned depth)
{
	yaml_event_type_t end = parent->type == NODE_MAP ? YAML_MAPPING_END_EVENT :
	                                                   YAML_SEQUENCE_END_EVENT;
	struct node **tail = &parent->child;

	for (unsigned n = 0;; n++) {
		yaml_event_t e;
		cleanup_free char *key = NULL;
		int line = 0, column = 0;
		int r = next_event(l, &e);
		if (r < 0)
			return r;
		if (e.type == end) {
			yaml_event_delete(&e);
			return 0;
		}
		if (parent->type == NODE_MAP) {
			r = n < POLICY_KEYS_MAX ? load_key(l, parent, &e, &key) :
			    fail_at(l, &e.start_mark, -E2BIG, "too many keys in one map");
			line = (int)e.start_mark.line + 1;
			column = (int)e.start_mark.column + 1;
			yaml_event_delete(&e);
			if (r >= 0)
				r = next_event(l, &e);
			if (r < 0)
				return r;
		}
		r = load_value(l, &e, depth, tail);
		yaml_event_delete(&e);
		if (r < 0)
			return r;
		if (key) { /* what people look for is the key, not where its value begins */
			(*tail)->line = line;
			(*tail)->column = column;
		}
		(*tail)->key = STEAL(key);
		tail = &(*tail)->next;
	}
}

static int load_value(struct loader *l, const yaml_event_t *e, unsigned depth, struct node **ret)
{
	enum node_type type = e->type == YAML_SCALAR_EVENT ? NODE_SCALAR :
	                      e->type == YAML_MAPPING_START_EVENT ? NODE_MAP : NODE_LIST;
	struct node *n;
	int r;

	if (depth >= POLICY_DEPTH_MAX)
		return fail_at(l, &e->start_mark, -E2BIG, "nested too deeply");
	if (++l->nodes > POLICY_NODES_MAX)
		return fail_at(l, &e->start_mark, -E2BIG, "too many values for a policy");
	n = node_new(type, l->origin, (int)e->start_mark.line + 1, (int)e->start_mark.column + 1);
	if (!n)
		return crcore_no_memory(l->err);
	if (type == NODE_SCALAR)
		r = scalar_text(l, e, &n->text);
	else
		r = load_children(l, n, depth + 1);
	if (r < 0) {
		node_free(n);
		return r;
	}
	*ret = n;
	return 0;
}

/* One document: its root, then nothing. */
static int load_document(struct loader *l, struct node **ret)
{
	bool ended = false;

	while (!ended) {
		yaml_event_t e;
		int r = next_event(l, &e);
		if (r < 0)
			return r;
		switch (e.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			break;
		case YAML_DOCUMENT_START_EVENT:
			if (*ret)
				r = fail_at(l, &e.start_mark, -EINVAL, "a policy is one document");
			break;
		case YAML_STREAM_END_EVENT:
			ended = true;
			break;
		default:
			r = load_value(l, &e, 0, ret);
		}
		yaml_event_delete(&e);
		if (r < 0)
			return r;
	}
	return 0;
}

int load_nodes(const char *origin, const void *bytes, size_t len, struct node **ret,
               struct crcore_error *err)
{
	struct loader l = { .origin = origin, .bytes = bytes, .len = len, .err = err };
	struct node *root = NULL;
	int r;

	if (len > POLICY_BYTES_MAX) {
		crcore_fail_at(err, -1, -1, "%s", origin);
		return crcore_fail(err, -E2BIG, "larger than 256 KiB: this is no policy");
	}
	if (!yaml_parser_initialize(&l.parser))
		return crcore_no_memory(err);
	yaml_parser_set_input_string(&l.parser, bytes, len);
	r = load_document(&l, &root);
	yaml_parser_delete(&l.parser);
	if (r < 0) {
		node_free(root);
		return r;
	}
	if (!root) {
		crcore_fail_at(err, -1, -1, "%s", origin);
		crcore_advise(err, "begin it with 'version: " POLICY_VERSION "'");
		return crcore_fail(err, -EINVAL, "is empty");
	}
	*ret = root;
	return 0;
}

bool text_is_clean(const char *s)
{
	yaml_parser_t parser;
	yaml_token_t token;
	bool ok = true;

	/* libyaml's reader is the judge: the text as a comment, which any text can be
	 * that is valid UTF-8 of printable characters. */
	if (strpbrk(s, "\r\n") || strlen(s) > POLICY_BYTES_MAX / 4)
		return false;
	cleanup_free char *comment = NULL;
	if (asprintf(&comment, "# %s\n", s) < 0 || !yaml_parser_initialize(&parser))
		return false;
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)comment, strlen(comment));
	for (bool end = false; ok && !end;) {
		ok = yaml_parser_scan(&parser, &token);
		end = ok && token.type == YAML_STREAM_END_TOKEN;
		ok = ok && (end || token.type == YAML_STREAM_START_TOKEN);
		if (ok)
			yaml_token_delete(&token);
	}
	yaml_parser_delete(&parser);
	return ok;
}
