/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of `crcore show`: an image that was read and counted, and its two forms of output. */
#ifndef CRCORE_CLI_SHOW_H
#define CRCORE_CLI_SHOW_H

#include <stdio.h>
#include <string.h>
#include "core/image/core_records.h"
#include "core/image/pages.h"
#include "core/util/text.h"

struct memory_count {         /* of one address space, in bytes */
	uint64_t mapped;
	uint64_t stored;      /* in this image's pages */
	uint64_t zero;        /* pages that are there and zero */
	uint64_t shared;      /* the same physical pages as another's */
	const Crcore__Task *from[4]; /* whose: the first tasks that have those memories */
	unsigned nfrom;       /* may be more than there is room for */
	unsigned nto;         /* address spaces that share pages of this one */
};

struct show {
	const char *dir;
	struct image *img;
	struct core_records records;
	struct memory_count *memory;  /* parallel to records.mms */
	struct pages *pages;
};

/* -- show.c -- */
/* What command_show() does, to any stream. */
int show_image(const char *dir, bool json, FILE *, struct crcore_error *);
/* The first task that has an address space or table: who is named when others share it. */
const Crcore__Task *show_owner_mm(const struct show *, uint32_t mm);
const char *show_comm(const Crcore__Task *);

/* -- show_memory.c -- */
int show_count_memory(struct show *, struct crcore_error *);
/* Reads memory of a task out of the image. Returns how many bytes from addr on are
 * known; the rest is as the mapping's file gives it. */
size_t show_read_memory(const struct show *, const Crcore__Mm *, uint64_t addr, void *buf,
                        size_t len);
/* The command line, arguments each ended by NUL; NULL if the image does not hold it. */
char *show_cmdline(const struct show *, const Crcore__Task *, size_t *ret_len);

/* -- show_text.c, show_task.c, show_json.c -- */
void show_text(const struct show *, FILE *);
void show_task(const struct show *, const Crcore__Task *, const char *prefix, FILE *);
void show_json(const struct show *, FILE *);
static inline const char *plural(uint64_t n) { return n == 1 ? "" : "s"; }
/* e.g. "1.5 MiB mapped" */
static inline void print_size(FILE *f, uint64_t bytes, const char *what)
{
	char buf[SIZE_TEXT_MAX];

	fprintf(f, "%s%s", size_text(bytes, buf), what);
}
/* Records and bytes of a section. */
struct section_count { uint64_t records, bytes; };
struct section_count show_count_section(const struct show *, const char *prefix,
                                        const char *section);
#endif
