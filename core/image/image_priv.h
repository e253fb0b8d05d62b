/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of core/image share: the open folder and its files. Nobody else includes this. */
#ifndef CRCORE_IMAGE_PRIV_H
#define CRCORE_IMAGE_PRIV_H

#include <pthread.h>
#include <xxhash.h>
#include "core/image/checksum.h"
#include "core/image/image.h"
#include "core/util/util.h"

#define IMAGE_FORMAT 1u
#define IMAGE_NAME_MAX 128u               /* bytes of a file name, with the NUL */
#define IMAGE_RECORD_MAX (256u << 20)     /* bytes of one record */
#define IMAGE_SECTION_MAX (1024ull << 20) /* bytes of one record file: it is read whole */
#define IMAGE_MANIFEST_MAX (64u << 20)
#define IMAGE_INLINE_MAX (16u << 10)      /* a section up to this is kept in the manifest */
#define PAGE_FILES_MAX 16384u
#define IMAGE_FILES_MAX (PAGE_FILES_MAX + 4096)
#define IMAGE_STRING_MAX 16384u           /* bytes of a string in a core record, with the NUL */

#define MM_FILE "core.mm.img" /* the records that a child refers to */
#define MANIFEST "manifest"
#define MANIFEST_TMP "manifest.tmp" /* there from the first moment: marks what is unfinished */

enum file_kind { FILE_RECORDS, FILE_BULK };

/* Where a block of a packed file is, as in the manifest: little endian. */
struct packed_block { uint64_t offset; uint32_t len, codec; };
struct kept_blocks;

struct image_file {
	char name[IMAGE_NAME_MAX];
	enum file_kind kind;
	int fd;                   /* -1: not opened (records: not flushed yet, or read already) */
	uint64_t length;          /* on disk, or when reading as the manifest says */
	bool contained;           /* in the manifest: there is no file */
	bool made;                /* writing: in the folder, by us */

	/* Records. Writing: what is not flushed yet. Reading: the whole file. */
	unsigned char *buf;
	size_t used, room;
	XXH3_state_t *state;      /* records: of what was flushed */

	/* Bulk: hashes of the blocks. */
	uint64_t *blocks;
	uint64_t nblocks, room_blocks;
	uint64_t hashed;          /* bytes that blocks stand for */

	/* Packed bulk; else index is NULL. */
	struct packed_block *index;
	uint64_t room_index;
	uint64_t unpacked;        /* bytes that it unpacks to */
	uint64_t end;             /* writing: where the next packed block goes */
	unsigned codecs;          /* reading: those that it needs, bits */
	struct kept_blocks *kept; /* reading */

	unsigned char *part;      /* writing a stream: where its bytes wait to be complete */
};

struct image {
	char *path;               /* as the user gave it, for messages */
	int dir;                  /* the folder */
	bool writing, sealed, sync;
	int marker;               /* writing: manifest.tmp; -1: not made yet */
	int parent;               /* folder of the folder; -1 if we did not make it */
	char *base;               /* its name there */
	struct image *older;      /* reading: the one that it was made on; NULL: none, or not opened */
	mode_t old_mode;          /* of a folder that we tightened; 0: we did not */
	struct image_file **files;
	unsigned nfiles;
	struct image_file *last;  /* the file used last: the next record mostly goes there too */
	pthread_mutex_t lock;     /* guards files and blocks for image_bulk_block() */
	Crcore__Manifest *manifest;
	struct stream *stream;    /* writing: where it goes; NULL: to the folder */
	struct image_file *pages[PAGE_FILES]; /* writing: of the folder, the page files */
	enum pack_codec codec;    /* writing: what blocks are packed with */
	struct pack *packs[PACK_CODECS];
	unsigned page_files;      /* reading: how many */
	void (*on_seal)(void *arg); /* NULL: nobody asks */
	void *on_seal_arg;
};

/* -- read.c -- */
/* Empty; dir may be NULL. NULL: out of memory. */
struct image *image_new(const char *dir);

/* -- chain.c -- */
/* Opens the ancestors, if that was not done: manifests checked, page files open. */
int chain_open(struct image *, struct crcore_error *);

/* -- folder.c -- */
/* A name that may stand in a manifest: no path, nothing hidden, .img or .bin. */
bool image_plain_name(const char *name);
int folder_make(struct image *, const char *dir, struct crcore_error *);
int folder_open(struct image *, const char *dir, struct crcore_error *);
void folder_unmake(struct image *);
/* "<prefix>.<section>.img" into ret. */
int image_section_name(const char *prefix, const char *section, char ret[IMAGE_NAME_MAX],
                       struct crcore_error *);
/* Names an image's file as the object of a failure; returns code. */
int image_fail(const struct image *, const char *name, int code, const char *why,
               struct crcore_error *);
/* The same where the system has refused something: "cannot WHAT: " and its reason. */
int image_cannot(const struct image *, const char *name, int code, const char *what,
                 struct crcore_error *);
/* Bytes could not be written: with what to do. */
int image_write_failed(const struct image *, const char *name, int code, struct crcore_error *);

/* -- files.c: the list of files -- */
struct image_file *image_file_find(struct image *, const char *name);
struct image_file *image_file_add(struct image *, const char *name, enum file_kind,
                                  struct crcore_error *);
int image_file_create(struct image *, struct image_file *, struct crcore_error *);
/* Checks what is there, and leaves it open; but where there are many page files, those. */
int image_file_open(struct image *, struct image_file *, struct crcore_error *);
/* A descriptor to read it by, in any thread, until bulk_close(); or a negative errno. */
int bulk_open(const struct image *, const struct image_file *);
void bulk_close(const struct image_file *, int fd);
void image_file_free(struct image_file *);
/* Whole buffers, interrupted or short calls continued; negative errno (-EIO: end of file). */
int write_all(int fd, const void *buf, size_t len);
int pwrite_all(int fd, const void *buf, size_t len, uint64_t offset);
int pread_all(int fd, void *buf, size_t len, uint64_t offset);

/* -- bulk.c -- */
/* Makes blocks stand for the whole file: finishes the last one, or reads it back. */
int bulk_finish(struct image *, struct image_file *, struct crcore_error *);
uint64_t bulk_count(uint64_t length);                         /* blocks in that many bytes */
uint64_t bulk_checksum(const uint64_t *blocks, uint64_t n);

/* Puts bytes where they belong in a bulk file. */
int bulk_store(struct image_file *, const void *buf, size_t len, uint64_t offset);
/* Notes the checksum of block n; the caller has the lock. */
int bulk_put_block(struct image_file *, uint64_t n, uint64_t sum);
/* What is in the file for block n of it: what its checksum is of. */
void bulk_stored_at(const struct image_file *, uint64_t n, uint64_t *ret_at, size_t *ret_len);
uint64_t bulk_length(const struct image_file *); /* in bytes that are read */

/* -- pages.c: all page files of one image, without those of its ancestors -- */
uint64_t pages_own(const struct image *);
/* They, in their order: image.page_files of them. The array is the caller's. NULL: no memory. */
struct image_file **pages_files(const struct image *);

/* -- packed.c -- */
int packed_write(struct image *, struct image_file *, uint64_t block, const void *buf, size_t len);
/* Reads bytes of any bulk file that are within bulk_length(); by any thread. check: blocks of a
 * packed file, when they are unpacked. -EBADMSG: they do not unpack; -EUCLEAN: damaged. */
int bulk_read(const struct image *, const struct image_file *, uint64_t offset, void *buf,
              size_t len, bool check);
/* Takes the index of a file whose length is known. What is wrong with it, or NULL. */
const char *packed_parse(struct image_file *, uint64_t unpacked, const void *index, size_t len);
/* Loads what unpacking it takes. */
int packed_ready(struct image *, const struct image_file *, struct crcore_error *);
void packed_free(struct image_file *);

/* -- verify.c -- */
/* Names the block of a file that is not as it was written. */
int image_wrong_block(const struct image *, const struct image_file *, uint64_t block,
                      struct crcore_error *);

/* -- send.c -- */
void stream_free(struct stream *); /* NULL is fine */
/* The file that a block of pages belongs to; *block becomes its number there. NULL: err. */
struct image_file *stream_part(struct image *, uint64_t *block, struct crcore_error *);
/* A block more is in it: sends it if that was the last. */
int stream_filled(struct image *, struct image_file *, struct crcore_error *);
/* At the seal, in this order: the last page file, what is not pages, the manifest, the end. */
int stream_send_parts(struct image *, struct crcore_error *);
int stream_send_files(struct image *, struct crcore_error *);
int stream_bytes(struct image *, const char *name, const void *bytes, size_t len,
                 struct crcore_error *);
int stream_end(struct image *, struct crcore_error *);

/* -- manifest.c -- */
int manifest_write(struct image *, Crcore__Manifest *, struct crcore_error *);
/* Fills image->manifest and image->files, checked; opens nothing else. */
int manifest_parse(struct image *, const unsigned char *bytes, size_t len, struct crcore_error *);
int manifest_read(struct image *, struct crcore_error *);

/* -- message.c -- */
/* Unpacks with memory bounded by len; refuses unknown fields, unknown enum values and
 * over-long strings. NULL and err without an object on failure. */
ProtobufCMessage *message_unpack(const ProtobufCMessageDescriptor *, const void *bytes, size_t len,
                                 struct crcore_error *);
#endif
