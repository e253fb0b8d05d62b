/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a group that are settings: settings.c. */
#ifndef CRCORE_PLUGIN_CGROUP_SETTINGS_H
#define CRCORE_PLUGIN_CGROUP_SETTINGS_H

#include "cgroup-freezer.h"

struct setting {
	const char *name;                        /* may have * in it */
	enum { LATE, EARLY } when;               /* EARLY: before tasks are in the group */
	enum { PLAIN, LINES, DEVICES, OOM, CONTROL } how;
};

extern const struct setting settings[];          /* in order; ends with name NULL */
const struct setting *setting_find(const char *file); /* NULL: the file is none */
/* Writes a value that was read from such a file, unless it has it already. */
int setting_write(const struct hierarchy *, const char *path, const char *file, const char *value);
#endif
