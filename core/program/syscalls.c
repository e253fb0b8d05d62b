/* SPDX-License-Identifier: Apache-2.0 */
/* Names of system calls, both ways. The table is made at build time. */
#include "core/program/program.h"
#include "core/util/util.h"

static const struct { uint32_t nr; const char *name; } names[] = {
#include "syscall-names.h"
};

const char *syscall_name(uint32_t nr)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].nr == nr)
			return names[i].name;
	return NULL;
}

int64_t syscall_number(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i].name, name))
			return names[i].nr;
	return -1;
}
