/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder share: nodes, the loader, the checks. Nobody
 * outside includes it. A node that is replaced is kept until policy_free(),
 * because values that were handed out borrow their text from nodes.
 */
#ifndef CRCORE_POLICY_INTERNAL_H
#define CRCORE_POLICY_INTERNAL_H

#include "core/policy/policy.h"

/* A policy is a page of text. These limits keep one from outside from costing
 * more than that. */
#define POLICY_BYTES_MAX (256u << 10)
#define POLICY_DEPTH_MAX 16
#define POLICY_NODES_MAX 20000
#define POLICY_KEYS_MAX 2000 /* in one map: duplicates are found by comparing all */
#define POLICY_KEY_LEN_MAX 255
#define POLICY_VERSION "1"

struct text { /* an interned string */
	struct text *next;
	char s[];
};

struct policy {
	struct node *root;          /* always a map */
	struct node *retired;       /* replaced nodes, linked by next */
	struct text *texts;
	struct crcore_value *core;  /* parallel to core_options */
};

extern const char origin_builtin[]; /* compared by address */

/* node.c */
struct node *node_new(enum node_type, const char *origin, int line, int column);
struct node *node_scalar(const char *text, const char *origin);
void node_free(struct node *); /* and all below it, not what follows; NULL is fine */
struct node *node_find(const struct node *map, const char *key);
void node_append(struct node *parent, struct node *child); /* at the end */
unsigned node_count(const struct node *parent);
/* Takes child out of parent; it stays alive in the policy. */
void node_retire(struct policy *, struct node *parent, struct node *child);
/* Puts child into map under key, in place of what has that key. Takes child even if it fails. */
int node_put(struct policy *, struct node *map, const char *key, struct node *child,
             struct crcore_error *);
/* Moves all of src into dst: maps merge, everything else replaces. Frees src. */
void node_merge(struct policy *, struct node *dst, struct node *src);
bool node_is_empty(const struct node *); /* nothing, "", ~, [] or {} */
/* Names a node as the object of an error: file:line:column, or the flag. Returns code. */
__attribute__((format(printf, 4, 5)))
int node_fail(const struct node *, struct crcore_error *, int code, const char *fmt, ...);

/* policy.c */
const char *policy_intern(struct policy *, const char *s); /* NULL: out of memory */
/* Takes the values of the core's own options from the tree. */
int policy_refresh_core(struct policy *, struct crcore_error *);

/* load.c: bytes to nodes, syntax only. origin is interned. */
int load_nodes(const char *origin, const void *bytes, size_t len, struct node **ret,
               struct crcore_error *);
/* Text that came from a flag: is it what a file could hold? */
bool text_is_clean(const char *s);

/* check.c: is the tree a policy? Also turns the empty value of a plugin into a map. */
int check_policy(struct node *root, struct crcore_error *);
int check_plugin_name(const struct node *where, const char *name, struct crcore_error *);
/* Where the core's option "dump.leave" is: its map in the tree. */
const struct crcore_option *core_option_find(const char *key);

/* value.c */
/* A node of an option's default value, origin "built in". */
int default_node(const struct crcore_option *, struct node **ret, struct crcore_error *);

/* options.c: one map against a table of options, whose names begin with prefix. */
int options_check_keys(const struct node *map, const char *owner, const struct crcore_option *table,
                       const char *prefix, struct crcore_error *);
#endif
