/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel tells nobody: members of its structs, read where they are, for objects
 * with state that no system call and no file of /proc shows.
 *
 * Members have the names that the kernel's source gives them, and may have others in another
 * kernel: what is not found is unknown. What changes or is freed meanwhile is read as some
 * value, or not at all (-EFAULT).
 */
#ifndef PLUGINS_BPF_PEEK_H
#define PLUGINS_BPF_PEEK_H

#include <crcore/plugin.h>

struct peek;

/* Takes some milliseconds: to be called when there is something to look at. */
int peek_open(struct peek **ret, struct crcore_error *);
void peek_close(struct peek *); /* NULL is fine */
/* Where a member is in a struct, bytes; its size must be that. */
int peek_offset(struct peek *, const char *type, const char *member, uint32_t size, uint32_t *ret,
                struct crcore_error *);
int peek_cpus(const struct peek *);
/* The address of the task's struct task_struct: 1, 0: there is none, or a negative errno. */
int peek_task(struct peek *, pid_t tid, uint64_t *ret);
/* 4 or 8 bytes at an address; where each processor has its own: those of cpu, or cpu -1. */
int peek_read(struct peek *, uint64_t address, int cpu, void *ret, uint32_t size);
/* 8 bytes. */
int peek_word(struct peek *, uint64_t address, uint64_t *ret);

/* The same by the name of a member, "a.b" of a struct inside; both are literals. Negative
 * errno; -ENOENT: this kernel has none of that name. Its address: */
int peek_at(struct peek *, uint64_t base, const char *type, const char *path, uint64_t *ret);
/* ... its value, a number, a pointer or a bit field: */
int peek_number(struct peek *, uint64_t base, const char *type, const char *path, uint64_t *ret);
/* The struct file of a descriptor of the thread that calls. */
int peek_file(struct peek *, int fd, uint64_t *ret);
/* The value of a struct percpu_counter. */
int peek_counter(struct peek *, uint64_t counter, int64_t *ret);

#endif
