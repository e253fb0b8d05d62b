/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image has of its parent (Mm.kept): of a range it may be said that its pages are
 * those which the parent has there, but where a run says otherwise. So a list is as long as what
 * was written to, not as what is there. Whoever restores wants to know where the bytes are, and
 * gets runs that say so; a dump on that image need not.
 */
#ifndef CRCORE_OLDER_H
#define CRCORE_OLDER_H

#include "core/memory/memory.h"
#include "core/memory/spans.h"

/* All pages that an address space of an image has, whoever stores them; val: address. */
int older_covered(const Crcore__Mm *, struct spans *ret, struct crcore_error *);
#endif
