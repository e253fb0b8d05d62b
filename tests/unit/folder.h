/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of an image, for unit tests. */
#ifndef FOLDER_H
#define FOLDER_H

#include <stdbool.h>
#include <stddef.h>

extern char folder_top[]; /* where to make any */
extern char folder[64];   /* in it; not there until a test makes it */

/* For cmocka: before all tests of a program, after each, after all. */
int folder_begin(void **state);
int folder_clear(void **state);
int folder_end(void **state);

void folder_remove(const char *path); /* any, with its files and empty folders */
const char *folder_file(const char *name); /* its path, until the next call */
bool folder_has(const char *name);
void folder_put(const char *name, const void *bytes, size_t len);
unsigned char *folder_get(const char *name, size_t *ret_len); /* to be freed */

/* The image of tests/lib/sample-image.h. */
void folder_sample(void);
/* Opens and loads all; 0 or the errno of the refusal, which must say something. */
int folder_try(void);
#endif
