/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel tells nobody: members of its structs, read where they are. For
 * plugins whose objects have state that no system call and no file of /proc shows.
 *
 * Needs CAP_BPF, CAP_PERFMON and a kernel that describes its types (CONFIG_DEBUG_INFO_BTF).
 * Names of members are those of the kernel's source and may be others in another
 * kernel: a plugin treats what is not found as unknown. Whatever may change or be freed
 * meanwhile is read as some value, or not at all (-EFAULT); nothing worse can happen.
 */
#ifndef CRCORE_PLUGIN_PEEK_H
#define CRCORE_PLUGIN_PEEK_H

#include <crcore/plugin.h>

struct peek;

/* Takes a few milliseconds: do it only when there is something to look at. */
int peek_open(struct peek **ret, struct crcore_error *);
void peek_close(struct peek *);
/* The rest gives negative errno. Address of a member: type and path name it, "a.b" one of
 * a struct inside; both are literals. -ENOENT: this kernel has none of that name. */
int peek_at(struct peek *, uint64_t base, const char *type, const char *path, uint64_t *ret);
/* The value of a member that is a number, a pointer or a bit field. */
int peek_number(struct peek *, uint64_t base, const char *type, const char *path, uint64_t *ret);
/* Eight bytes. */
int peek_word(struct peek *, uint64_t address, uint64_t *ret);
/* The struct file of one of our own descriptors. */
int peek_file(struct peek *, int fd, uint64_t *ret);
/* The value of a struct percpu_counter. */
int peek_counter(struct peek *, uint64_t counter, int64_t *ret);
#endif
