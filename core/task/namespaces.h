/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces of a tree that are not crcore's: see namespaces.c. */
#ifndef CRCORE_NAMESPACES_H
#define CRCORE_NAMESPACES_H

#include <crcore/error.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define NAMESPACES 16
struct namespaces { /* begins empty */
	int v[NAMESPACES];
	unsigned n;
	uint32_t types; /* CLONE_NEW* of all */
};

/* Those that the paths of files lead to. */
int namespaces_open(struct namespaces *, const char *const *paths, struct crcore_error *);
/* Finds those of a task. */
int namespaces_of(struct namespaces *, pid_t, struct crcore_error *);
/* Enters them; all: also those in which no path or object is named. */
int namespaces_enter(const struct namespaces *, bool all, struct crcore_error *);
void namespaces_close(struct namespaces *);

uint32_t namespace_type(int fd); /* CLONE_NEW*; 0: fd is none */
bool namespace_is_joinable(uint32_t type);
bool namespace_is_entered(uint32_t type);
/* Of the process whose folder is proc; name: as in /proc/PID/ns. One that is gone is ours. */
bool namespace_is_ours(int proc, const char *name);
#endif
