/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image: a folder (0700) of files (0600). Written once, under construction
 * until the manifest appears by rename; read as untrusted input. docs/image-format.md.
 */
#ifndef CRCORE_IMAGE_H
#define CRCORE_IMAGE_H

#include <crcore/plugin.h>
#include "core/image/core.pb-c.h"
#include "core/image/pack.h"

struct image; /* one open image folder, writing or reading */

/* -- writing -- */
/* Creates dir if need be (its parent must exist); refuses one that holds a
 * complete image or files that are not crcore's. Takes a lock in it (flock).
 * sync: seal forces every file and the folder to disk, before and after the manifest
 * appears. Without it the image is complete for every reader at once too, and what a
 * power cut damages is refused by its checksums. */
int image_create(const char *dir, bool sync, struct image **ret, struct crcore_error *);
/* The same without a folder: the image goes to fd as a tar archive, pages as they come, the
 * manifest last. stop (may be NULL) is asked now and then: a negative errno ends it. */
int image_create_stream(int fd, int (*stop)(struct crcore_error *), struct image **ret,
                        struct crcore_error *);
/* Appends one length-delimited record to "<prefix>.<section>.img". A section that
 * stays short is kept in the manifest and is no file of its own. */
int image_put(struct image *, const char *prefix, const char *section, const void *msg, size_t len,
              struct crcore_error *);
int image_put_message(struct image *, const char *prefix, const char *section,
                      const ProtobufCMessage *, struct crcore_error *);
/*
 * A bulk file by name, e.g. "pages-1.bin": raw bytes, checksummed per IMAGE_BLOCK.
 * Returns a descriptor (owned by the image). The same name again gives the same
 * descriptor. Fill a file in one of two ways:
 *  - image_bulk_block(): whole blocks, by any thread, in any order, each once; the
 *    last block of the file may be short. Files of pages are packed if the image packs.
 *  - write to the descriptor by other means (splice, a plugin's blob): seal then
 *    reads the file back to checksum it, which costs another pass over it.
 */
#define IMAGE_BLOCK (1u << 20)
#define PAGE_FILE "pages-1.bin" /* the first file of memory */
#define PAGE_FILES 4            /* of memory at most, that one dump writes: pages-1.bin and so on */
#define TRACKING_SECRET 16      /* bytes */
int image_bulk(struct image *, const char *name, struct crcore_error *);
int image_bulk_block(struct image *, int fd, uint64_t block, const void *buf, size_t len,
                     struct crcore_error *);
/* The pages, as blocks of n large files, one behind the other: begin (more often, too), then
 * blocks of each as above, which whoever has taken a number puts there before it takes a much
 * higher one. Writers that each have a file of their own do not wait for each other, as they
 * do in the kernel; image_page_files() says how many it may be. */
unsigned image_page_files(const struct image *);
int image_pages_begin(struct image *, unsigned n, struct crcore_error *);
int image_pages_block(struct image *, unsigned file, uint64_t block, const void *buf, size_t len,
                      struct crcore_error *);
/* From now on files of pages are packed, each block by itself. */
int image_set_packing(struct image *, enum pack_codec, int level, struct crcore_error *);
/* Flushes, checksums every file, writes manifest.tmp, renames. m: everything but
 * format, files and checksum is filled by the caller. */
int image_seal(struct image *, Crcore__Manifest *m, struct crcore_error *);
/* Calls fn right before it is complete. */
void image_on_seal(struct image *, void (*fn)(void *arg), void *arg);
/* Closes. An image that was not sealed is removed: its files, and the folder if it made that. */
void image_close(struct image *);

/*
 * Makes the folder dir (*ret_made), or fills an empty one, with the image that comes from
 * fd as a stream. Reads to the end of it; what is cut or no image leaves nothing behind.
 */
int image_receive(int fd, const char *dir, int (*stop)(struct crcore_error *), bool *ret_made,
                  struct crcore_error *);
/* Where an image is, to remove it from there, whatever its path leads to by then; with
 * its folder if that was made for it. */
struct image_place;
int image_place_open(const char *dir, bool made, struct image_place **ret, struct crcore_error *);
void image_place_remove(struct image_place *); /* NULL is fine; again, too */
void image_place_close(struct image_place *);

/* -- reading -- */
/* Opens; checks the manifest, the length of every file and the checksums of the
 * records. verify: those of the bulk files too, as image_verify(). Takes a shared lock. */
int image_open(const char *dir, bool verify, struct image **ret, struct crcore_error *);
/* Checksums all bulk files, and the pages of ancestors, with a few threads. May run beside
 * other calls that read, once pages_open() has opened those (restore: while the tree is being
 * built; nothing may run before it succeeded). */
int image_verify(struct image *, struct crcore_error *);
/* The same without pages: for those that are checked when they are read (pages_read_block()). */
int image_verify_others(struct image *, struct crcore_error *);
/* Once pages_open() has opened its ancestors: the one that it was made on, of which the section
 * core.mm can be read, and no other. NULL: none. */
struct image *image_older(const struct image *);
/* The same: may another be made on it? */
int image_may_have_child(const struct image *, struct crcore_error *);
/* Bytes of pages that its ancestors have. */
uint64_t image_pages_before(const Crcore__Manifest *);
const Crcore__Manifest *image_manifest(const struct image *);
/* Calls fn for each record of a section (none if the file is not there). */
int image_each(struct image *, const char *prefix, const char *section,
               int (*fn)(void *arg, const void *msg, size_t len, struct crcore_error *), void *arg,
               struct crcore_error *);
/* The same with messages of a known type; fn owns msg (protobuf_c_message_free_unpacked(msg,
 * NULL), or keeps it). Refused: fields that the type does not know, memory out of
 * proportion to the record's length. */
int image_each_message(struct image *, const char *prefix, const char *section,
                       const ProtobufCMessageDescriptor *,
                       int (*fn)(void *arg, ProtobufCMessage *msg, struct crcore_error *),
                       void *arg, struct crcore_error *);
/* A bulk file for reading; *ret_len its length. Owned by the image. -ENOENT: none of
 * that name (err is filled; pass NULL where that is no failure). Not for packed files. */
int image_bulk_read(struct image *, const char *name, uint64_t *ret_len, struct crcore_error *);
/* Of "pages-N.bin" N, else 0. What those hold is read through pages.h. */
unsigned image_page_number(const char *name);
/* What a process needs that goes on reading the pages, as a malloc'ed list of descriptors (-1:
 * none). NULL: out of memory. */
int *image_descriptors(const struct image *, unsigned *ret_n);
int image_folder(const struct image *); /* its descriptor; the image's */
#endif
