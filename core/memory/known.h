/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What smaps said of the mappings of a tree shortly before it was frozen. To ask
 * again while it stands still would take as long as it has pages (12 ms for a
 * gigabyte): the list of mappings is quickly had then (maps), and their locks and
 * advice are taken from here where a mapping is as it was, or only longer or shorter.
 */
#ifndef CRCORE_KNOWN_H
#define CRCORE_KNOWN_H

#include "core/memory/spans.h"
#include "core/memory/vmas.h"

struct known {
	char *text;             /* of smaps; the entries' paths are in it */
	struct vma_text *v; size_t n;
	struct spans watched;   /* addresses whose VMF_UFFD and VMF_WRITES mean us */
};

/* Reads smaps of the process whose /proc/PID is open as proc. */
int known_read(struct known *, int proc, struct crcore_error *);
/* Completes an entry of maps by what is known. false: nothing is known of it. */
bool known_complete(const struct known *, struct vma_text *);
void known_free(struct known *);
#endif
