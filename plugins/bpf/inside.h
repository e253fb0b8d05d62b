/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's struct of a socket, as it lies in memory: two sockets of a sort whose words are
 * the same are in the same state. What the words mean does not stand here: plugins/net/learn.c.
 */
#ifndef PLUGINS_BPF_INSIDE_H
#define PLUGINS_BPF_INSIDE_H

#include <stdbool.h>
#include <stdint.h>

#define INSIDE_WORDS 1024

struct inside;

/* Takes a millisecond or two. Negative errno: it cannot be done here. */
int inside_open(struct inside **ret);
void inside_close(struct inside *); /* NULL is fine */
/* How many words it has, or a negative errno. By several threads at the same time, if they
 * like; fd is a descriptor of the one that calls. */
int inside_read(struct inside *, int fd, uint32_t ret[INSIDE_WORDS]);
/* The number of a struct of the kernel; 0: there is none of that name. */
uint32_t inside_struct(const struct inside *, const char *name);
/* The member that a bit of it belongs to, as bits. */
bool inside_member(const struct inside *, uint32_t number, uint32_t bit, uint32_t *ret_first,
                   uint32_t *ret_n);

#endif
