/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image: a folder (0700) of files (0600). Written once, under construction
 * until the manifest appears by rename; read as untrusted input. docs/image-format.md.
 */
#ifndef CRCORE_IMAGE_H
#define CRCORE_IMAGE_H

#include <crcore/plugin.h>
#include "core/image/core.pb-c.h"

struct image; /* one open image folder, writing or reading */

/* -- writing -- */
/* Creates dir if need be (its parent must exist); refuses one that holds a
 * complete image or files that are not crcore's. Takes a lock in it (flock). */
int image_create(const char *dir, struct image **ret, struct crcore_error *);
/* Appends one length-delimited record to "<prefix>.<section>.img". */
int image_put(struct image *, const char *prefix, const char *section, const void *msg, size_t len,
              struct crcore_error *);
int image_put_message(struct image *, const char *prefix, const char *section,
                      const ProtobufCMessage *, struct crcore_error *);
/* A bulk file by name, e.g. "pages-1.bin"; returns a descriptor (owned by the image). */
int image_bulk(struct image *, const char *name, struct crcore_error *);
/* Flushes, checksums every file, writes manifest.tmp, renames. m: everything but
 * files is filled by the caller. */
int image_seal(struct image *, Crcore__Manifest *m, struct crcore_error *);
/* Closes. An image that was not sealed is removed (files it created; the folder if it created it). */
void image_close(struct image *);

/* -- reading -- */
/* Opens, checks manifest, lengths and (verify) checksums of all files. */
int image_open(const char *dir, bool verify, struct image **ret, struct crcore_error *);
const Crcore__Manifest *image_manifest(const struct image *);
/* Calls fn for each record of a section (none if the file is not there). */
int image_each(struct image *, const char *prefix, const char *section,
               int (*fn)(void *arg, const void *msg, size_t len, struct crcore_error *), void *arg,
               struct crcore_error *);
/* The same with messages of a known type; fn owns msg (frees it or keeps it). */
int image_each_message(struct image *, const char *prefix, const char *section,
                       const ProtobufCMessageDescriptor *,
                       int (*fn)(void *arg, ProtobufCMessage *msg, struct crcore_error *), void *arg,
                       struct crcore_error *);
/* A bulk file for reading; *ret_len its length. Owned by the image. */
int image_bulk_read(struct image *, const char *name, uint64_t *ret_len, struct crcore_error *);
#endif
