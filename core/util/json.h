/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JSON writer for --json output: commas, indentation and escapes are its
 * business, so output is well formed whatever the strings hold. Bytes that are
 * not UTF-8 come out as U+FFFD.
 *
 *   struct json j = JSON_INIT(stdout);
 *   json_object(&j, NULL);
 *   json_string(&j, "name", name);
 *   json_array(&j, "pids"); json_int(&j, NULL, 7); json_end(&j);
 *   json_end(&j);                       (the last json_end() ends the line)
 *
 * key is NULL for the outermost value and for elements of an array.
 */
#ifndef CRCORE_JSON_H
#define CRCORE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH 64

struct json {
	FILE *f;
	unsigned depth;           /* open objects and arrays */
	char close[JSON_DEPTH];   /* what closes each: '}' or ']' */
	bool some[JSON_DEPTH];    /* it has an element already */
};
#define JSON_INIT(file) { .f = (file) }

void json_object(struct json *, const char *key);
void json_array(struct json *, const char *key);
void json_end(struct json *); /* ends the innermost object or array */

void json_string(struct json *, const char *key, const char *s); /* NULL: null */
void json_string_len(struct json *, const char *key, const char *s, size_t len);
void json_int(struct json *, const char *key, int64_t);
void json_uint(struct json *, const char *key, uint64_t);
void json_hex(struct json *, const char *key, uint64_t);         /* "0x7f..." as a string */
void json_bool(struct json *, const char *key, bool);
void json_null(struct json *, const char *key);
#endif
