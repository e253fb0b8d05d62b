/* SPDX-License-Identifier: Apache-2.0 */
/* The index of core records and the parts of the check, private to core_records.c and check_*.c. */
#ifndef CRCORE_RECORDS_PRIV_H
#define CRCORE_RECORDS_PRIV_H

#include "core/image/core_records.h"
#include "core/util/util.h"

enum record_sort { SORT_TASK, SORT_MM, SORT_FILES, SORT_FS, SORT_SIGHAND, SORT_OBJECT, SORT_SEGMENT,
	           NSORTS };

struct index_entry {
	uint32_t id;
	unsigned pos;   /* in its array of struct core_records */
	void *record;
};

struct core_index {
	struct index_entry *v[NSORTS]; /* ascending */
	unsigned n[NSORTS];
};

/* Sorts n records by id; an id that is 0 or there twice is refused. */
int core_index_add(struct core_index *, enum record_sort, void *records, unsigned n,
                   struct crcore_error *);
const struct index_entry *core_index_find(const struct core_index *, enum record_sort, uint32_t id);
void core_index_free(struct core_index *);

/* Fails with -EBADMSG, and names the record. */
#define BAD(err, ...) crcore_fail(err, -EBADMSG, __VA_ARGS__)

/* -- check_task.c: what can be said of one task without looking at others -- */
int check_task(const Crcore__Task *, struct crcore_error *);
/* -- check_object.c: the tables and objects that tasks refer to -- */
int check_objects(const Crcore__Manifest *, const struct core_records *, struct crcore_error *);
int check_tables(const struct core_records *, struct crcore_error *);
int check_memory(const Crcore__Manifest *, const struct core_records *, struct crcore_error *);
#endif
