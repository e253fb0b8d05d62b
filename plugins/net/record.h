/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of sockets: their options, and the lists of them that a restore works
 * with. A record begins with the object's id; what a plugin keeps for it in a
 * restore (its struct made) begins with a pointer to the record.
 */
#ifndef CRCORE_PLUGIN_NET_RECORD_H
#define CRCORE_PLUGIN_NET_RECORD_H

#include <crcore/plugin.h>
#include <stddef.h>
#include "plugins/net/option.pb-c.h"
#include "plugins/net/options.h"
#include "plugins/record.h"

/* The beginning of any record, and of any struct made. */
struct net_record {
	ProtobufCMessage base;
	uint32_t id;
};
struct net_made {
	struct net_record *rec;
};
#define NET_MADE(made, record) \
	_Static_assert(offsetof(made, rec) == offsetof(struct net_made, rec) && \
	               offsetof(record, id) == offsetof(struct net_record, id), "plugins/net/record.h")

/* -- dump ---------------------------------------------------------------------------------- */

/* Options as a record has them: one piece of memory for free(); the values stay where they are. */
Net__Option **net_options_list(const struct net_value *, unsigned n);

/* -- restore ------------------------------------------------------------------------------- */

/* Unpacks a record and adds an element of size bytes for it, all else of it 0, to a list of
 * *n pointers: **list. NULL, with err filled: nothing was added. */
void *net_load(void *list, unsigned *n, size_t size, const ProtobufCMessageDescriptor *,
               const void *msg, size_t len, struct crcore_error *);
/* Sorts a list of elements that all have records; no two may be of one object. */
int net_sort(void *list, unsigned n, struct crcore_error *);
/* In a sorted list; NULL: there is none. */
void *net_find(const void *list, unsigned n, uint32_t id);
int net_not_found(uint32_t id, struct crcore_error *);

/* Sets the options that are to be set now (enum net_when), or one. */
int net_options_set(int fd, Net__Option *const *, size_t n, unsigned when, struct crcore_error *);
int net_option_apply(int fd, const Net__Option *, struct crcore_error *);
/* Whether one is among them: sets it. Returns 0 if not. */
int net_option_again(int fd, Net__Option *const *, size_t n, int level, int number);

/* Owner, permissions and O_NONBLOCK, where they are others. Negative errno. */
int net_owner_set(int fd, uint32_t uid, uint32_t gid, uint32_t mode, uint32_t flags);
#endif
