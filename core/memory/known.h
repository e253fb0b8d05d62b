/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was said of the mappings of a tree shortly before it was frozen. Where smaps is the
 * only place that tells locks and advice (flags.h), to ask again while the tree stands still
 * would take as long as it has pages (22 ms for a gigabyte): the list of mappings is quickly
 * had then (maps), and their locks and advice are taken from here where a mapping is as it was,
 * or only longer or shorter.
 */
#ifndef CRCORE_KNOWN_H
#define CRCORE_KNOWN_H

#include "core/memory/flags.h"
#include "core/memory/spans.h"

struct known {
	struct vma_list list;
	struct spans watched;   /* addresses whose VMF_UFFD and VMF_WRITES mean us */
};

/* Asks now. flags: how, NULL: by smaps. */
int known_read(struct known *, const struct task *, const struct flags *, struct crcore_error *);
/* Completes an entry of maps by what is known. false: nothing is known of it. */
bool known_complete(const struct known *, struct vma_text *);
void known_free(struct known *);
#endif
