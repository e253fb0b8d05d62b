/* SPDX-License-Identifier: Apache-2.0 */
/* One descriptor of a task, and how it is looked at. */
#ifndef CRCORE_DUMP_DESCRIPTORS_H
#define CRCORE_DUMP_DESCRIPTORS_H

#include "core/dump/dump.h"

struct descriptor {
	struct task *task;
	Crcore__Files *files; /* the table that it is in */
	Crcore__Fd *rec;
	int fd;
	int local;            /* our duplicate of it, -1: none */
	struct stat st;
	uint32_t flags, mnt_id;
	int64_t pos;
	bool locked;
	char *fdinfo, *link;
	int r;               /* of reading it: 1, 0: it was closed meanwhile, or why not */
	unsigned group;      /* equal: same description; 0: not told yet */
	struct descriptor *from; /* its task's parent has the same description by this one; NULL: not */
	struct descriptor *same; /* the first of a row that are one description */
};

struct table {
	struct descriptor *v; /* of parents before those of their children */
	unsigned n, ngroups;
	unsigned keep;       /* so many more may be kept open */
	bool quick;
	int error;           /* of kcmp */
};
/* tables.c: lists all descriptors of a tree; fills in from. */
int tables_list(struct table *, struct survey *, struct crcore_error *);
int tables_compare(struct table *, const struct survey *, struct crcore_error *);

/* describe.c: a thread that reads descriptors, and what it remembers from one to the next.
 * Begins as zeroes but for quick. */
#define WORDS 4
struct reader {
	bool quick;            /* see struct survey */
	const struct task *task;
	int fd, info, error;   /* its folders that tell of descriptors: each path is one step shorter */
	struct word { dev_t dev; char text[24]; } words[WORDS];
	unsigned nwords;
};
/* Fills in all that can be seen of a descriptor of task. Returns as in r. */
int descriptor_read(struct descriptor *, struct reader *);
/* The same of one that was inherited, as far as it may differ from that which it is from. */
int descriptor_read_own(struct descriptor *, struct reader *);
void reader_end(struct reader *);
#endif
