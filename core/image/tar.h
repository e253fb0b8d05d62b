/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Headers of a tar archive (POSIX ustar), as a stream of an image has them: plain files
 * without owners or links. tar(1) can unpack such a stream, and make one.
 */
#ifndef CRCORE_TAR_H
#define CRCORE_TAR_H

#include <stdbool.h>
#include <stdint.h>

#define TAR_BLOCK 512
#define TAR_NAME_MAX 101 /* with the NUL */

struct tar_entry {
	char name[TAR_NAME_MAX];
	uint64_t size;
	bool folder;
};

/* False: the name is too long for one. */
bool tar_put(unsigned char block[TAR_BLOCK], const char *name, uint64_t size, uint64_t mtime);
/* 1: a plain file or a folder, 0: nothing but zeroes, the end; -1: anything else. */
int tar_get(const unsigned char block[TAR_BLOCK], struct tar_entry *);
#endif
