/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy: the only store of options. A YAML file gives the values, flags
 * are an overlay on it, plugins declare what is allowed. Every value remembers
 * where it came from. See docs/policy.md.
 */
#ifndef CRCORE_POLICY_H
#define CRCORE_POLICY_H

#include <crcore/plugin.h>
#include <stdio.h>

struct policy;

/* A value with its origin; nodes form the tree that the file is. Owned by the policy. */
enum node_type { NODE_SCALAR = 1, NODE_LIST, NODE_MAP };
struct node {
	enum node_type type;
	char *key;             /* in a map; NULL in a list */
	char *text;            /* NODE_SCALAR */
	struct node *child;    /* first child of a list or map */
	struct node *next;
	const char *origin;    /* file name, "--flag" or "built in" */
	int line, column;      /* 1-based; 0: no position */
	bool used;
	const char **list;     /* of a list or map that was parsed: what crcore_value.list points to */
};

/* An empty policy: no plugins. */
struct policy *policy_new(void);
void policy_free(struct policy *);

/* Merges a file over what is there (maps merge, everything else replaces).
 * Checks syntax, `version`, the known top-level keys (version, name, plugins,
 * order, dump, restore), and types; file:line:column in every error. */
int policy_load(struct policy *, const char *path, struct crcore_error *);
/* The same from memory (the image's policy, tests, fuzzer). origin is copied. */
int policy_load_bytes(struct policy *, const char *origin, const void *bytes, size_t len,
                      struct crcore_error *);
/* Finds a policy by name or path: a path as it is; else NAME.yaml in the
 * $CRCORE_CONFDIR, the source tree's configs/ (only if crcore runs from its build tree),
 * /etc/crcore. */
int policy_find(const char *name, char *ret_path, size_t len, struct crcore_error *);

/* A flag: sets plugins.<plugin>.<key> (or, plugin NULL, <key>, e.g. "dump.leave")
 * to text; append: adds to a list instead (or "key=value" to a map). origin is the flag, e.g.
 * "--file-locks". -ENOENT if the policy does not name the plugin. */
int policy_set(struct policy *, const char *plugin, const char *key, const char *text,
               bool append, const char *origin, struct crcore_error *);
/* --plugins=LIST: exactly these plugins ("a,b,/path/x.so"), "+x" adds and "-x" removes. */
int policy_set_plugins(struct policy *, const char *list, struct crcore_error *);

/* Names (or paths) of the plugins, in file order; NULL past the last. */
const char *policy_plugin(const struct policy *, unsigned i);
/* Subtree of a plugin by name or path (NULL: none). */
struct node *policy_plugin_node(struct policy *, const char *name);
/* order.<stage>.<plugin>.<before|after> lists; fn is called for each pair. */
int policy_order(const struct policy *, int (*fn)(void *arg, const char *stage, const char *plugin,
                 bool before, const char *other, const struct node *where), void *arg);

/* Parses one plugin's options: every option of the table gets a value (policy or
 * default), unknown keys are refused (with the nearest known name as advice).
 * Reserved keys of every plugin: time-limit. Values are owned by the policy. */
int policy_options(struct policy *, const char *plugin, const struct crcore_option *table,
                   struct crcore_value *ret_values, struct crcore_error *);
/* The same check for the core's own keys: dump.*, restore.* (table in core/policy/core.c). */
const struct crcore_value *policy_core(struct policy *, const char *key);

/* Parses "64MiB", "10s", "yes": used by options and flags. */
int policy_parse_value(const struct crcore_option *, const struct node *, struct crcore_value *ret,
                       struct crcore_error *);

/* The effective policy as YAML, each value followed by "# origin:line"; json: as JSON. */
int policy_print(const struct policy *, FILE *, bool json);
/* As YAML without comments, for the manifest. Caller frees. */
char *policy_text(const struct policy *, size_t *ret_len);
#endif
