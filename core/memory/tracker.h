/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tracker: a process that keeps the watch of a tree's memory up between two dumps.
 * It holds the descriptors, and does nothing but wait for the end of the tree.
 *
 * What is protected then is as in one image, that which names the tracker, and in no
 * other: so a tracker is good for one successor of that image. Who takes over its
 * descriptors ends it, whatever becomes of the successor.
 */
#ifndef CRCORE_TRACKER_H
#define CRCORE_TRACKER_H

#include <sys/types.h>
#include "core/image/core.pb-c.h"
#include <crcore/error.h>

struct tracked {
	pid_t pid;
	uint64_t start_time;  /* as in /proc/PID/stat */
	int uffd;             /* the watch of its memory */
	int pidfd;            /* to start one with; else -1 */
};

/* Starts one that holds copies of v's descriptors, and fills what the manifest says of it
 * (tracker_forget() frees that). It ends with us, unless we keep it. */
struct tracker;
int tracker_begin(const struct tracked *v, unsigned n, Crcore__Tracking *, struct tracker **ret,
                  struct crcore_error *);
void tracker_forget(Crcore__Tracking *);
/* The image that names it is complete: from now on it is good. */
void tracker_keep(struct tracker *);
void tracker_free(struct tracker *); /* ends it if it was not kept; NULL is fine */

/* Takes over what the tracker of an image holds, and ends it. Fails with the reason if there
 * is none (any more). *ret is to be freed, its descriptors are the caller's. */
int tracker_take(const Crcore__Tracking *, struct tracked **ret, unsigned *ret_n,
                 struct crcore_error *);
#endif
