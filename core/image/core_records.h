/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core's sections of an image, loaded and checked: what restore builds from
 * and show prints. Everything in here came from outside; after core_records_load()
 * succeeded these hold, and nobody need check them again:
 *
 *  - every id is > 0 and unique in its section, every reference resolves;
 *  - tasks[0] is the root (the manifest's root_pid), a parent stands before its
 *    children, no zombie has children, the manifest's number of tasks is right;
 *  - pids and tids are in 1..PID_MAX_LIMIT and no number is used twice;
 *  - a task that is no zombie has mm, files, fs, sighand, threads[0].tid == pid,
 *    and every thread has creds; a zombie has no mm, files, fs, sighand, and its
 *    threads are none or just the leader;
 *  - byte fields have the size of the kernel's struct (regs, siginfo, stack_t,
 *    sigaction, sched_attr) or are absent where that is allowed (see check_task.c);
 *  - rlimits are none or 16, itimers none or 3, actions exactly 64, resume.args six;
 *  - descriptors of a table ascend, so none is there twice;
 *  - strings are shorter than 16 KiB; no record has a field of a newer format.
 *
 * Mappings and runs are not checked here: call memory_runs() (memory.h).
 */
#ifndef CRCORE_CORE_RECORDS_H
#define CRCORE_CORE_RECORDS_H

#include "core/image/image.h"

struct core_index; /* ids to records */

struct core_records {
	Crcore__Task **tasks; unsigned ntasks;         /* parents before children, [0] the root */
	Crcore__Mm **mms; unsigned nmms;               /* as saved: what OTHER refers to is earlier */
	Crcore__Files **files; unsigned nfiles;
	Crcore__Fs **fs; unsigned nfs;
	Crcore__Sighand **sighands; unsigned nsighands;
	Crcore__Object **objects; unsigned nobjects;
	Crcore__Segment **segments; unsigned nsegments;
	struct core_index *index;
};

/* Reads all core sections and checks them. ret is untouched on failure. The
 * records do not borrow from the image: they outlive image_close(). */
int core_records_load(struct image *, struct core_records *ret, struct crcore_error *);
void core_records_free(struct core_records *); /* an empty (zeroed) one is fine */

/* Lookup, O(log n); NULL if there is none. */
/* Its place in tasks, in mms; ntasks, nmms if there is none. */
unsigned core_task_index(const struct core_records *, uint32_t pid);
unsigned core_mm_index(const struct core_records *, uint32_t id);
Crcore__Mm *core_mm(const struct core_records *, uint32_t id);
Crcore__Files *core_files(const struct core_records *, uint32_t id);
Crcore__Fs *core_fs(const struct core_records *, uint32_t id);
Crcore__Sighand *core_sighand(const struct core_records *, uint32_t id);
Crcore__Object *core_object(const struct core_records *, uint32_t id);
Crcore__Segment *core_segment(const struct core_records *, uint32_t id);

/* The check itself, for those who made the records in memory (tests, a dump that
 * wants to know that what it writes can be read). Needs the arrays filled; builds
 * the index. */
int image_validate_core(const Crcore__Manifest *, struct core_records *, struct crcore_error *);
#endif
