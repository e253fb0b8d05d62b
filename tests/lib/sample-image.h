/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small but complete image made in memory: a root with two threads, a stopped
 * child that shares its files, a grandchild with copy-on-write pages of the
 * root, and a zombie. Tests write it, read it, and damage it.
 */
#ifndef CRCORE_SAMPLE_IMAGE_H
#define CRCORE_SAMPLE_IMAGE_H

#include "core/image/core_records.h"

#define SAMPLE_ROOT 1000u
#define SAMPLE_CMDLINE "/usr/bin/sample\0--flag\0two words"
#define SAMPLE_SECRET "secret payload of the process"

/* Everything on the heap: core_records_free() frees it. */
void sample_records(struct core_records *ret);
void sample_manifest(Crcore__Manifest *ret); /* borrows static strings: nothing to free */
/* Bytes of pages-1.bin; freed by the caller. */
unsigned char *sample_pages(size_t *ret_len);
/* Writes records, pages and one section of a plugin, seals, closes. */
int sample_write(const char *dir, const struct core_records *, struct crcore_error *);
#endif
