/* SPDX-License-Identifier: Apache-2.0 */
/* A userfaultfd belongs to the address space of whoever makes it: so a task does, with an
 * operation of its program, and waits; here it is fetched and put to use. */
#ifndef CRCORE_RESTORE_UFFD_H
#define CRCORE_RESTORE_UFFD_H

#include "core/restore/restore.h"

/* What operation op of its program made. ret_pidfd: of the task; NULL: not wanted. */
int uffd_fetch(const struct stub *, uint32_t op, int *ret_pidfd, struct crcore_error *);
/* Adds to ranges that ascend. Neighbours are one: what is one mapping to the kernel must not become
 * two. false: no memory. */
bool uffd_add_range(struct layout_range **, unsigned *n, uint64_t start, uint64_t end);
/* Pages that are missing there are watched from now on; after a failure, nowhere. */
int uffd_watch(int uffd, const struct layout_range *, unsigned n, struct crcore_error *);
#endif
