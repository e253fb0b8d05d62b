/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host for one plugin, in a test, without privileges: the test process plays
 * the tree. Objects are made from its own descriptors, records and blobs are
 * kept in memory, operations of a task's program are kept as a list. A test
 * saves with one life of the plugin and restores with another:
 *
 *	struct fake *f = fake_new(path_of_the_so);
 *	fake_option(f, "ghost-limit", (struct crcore_value){ .i = 4096 });
 *	fake_open(f);
 *	uint32_t id = fake_object(f, fd);
 *	assert_int_equal(fake_save(f), 0);       claim, review, save_object of all; save
 *	fake_reopen(f);                          close, open
 *	assert_int_equal(fake_load(f), 0);       load_record of all, check
 *	fd = fake_create(f, id);
 *	fake_free(f);
 *
 * A failure is a return value, and f->err says why.
 */
#ifndef FAKE_HOST_H
#define FAKE_HOST_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define FAKE_MAX 64

struct fake_record { char section[24]; void *msg; size_t len; };
struct fake_op { const char *label; uint32_t nr; struct crcore_arg args[6]; uint32_t expect; };
struct fake_undo { void (*fn)(void *); void *arg; bool on_success; };

struct fake {
	void *dl;
	const struct crcore_plugin *plugin;
	void *state;
	struct crcore_error err;
	struct crcore_value options[32]; /* parallel to the plugin's */
	struct crcore_object objects[FAKE_MAX];
	struct crcore_object *claimed[FAKE_MAX];
	unsigned nobjects, nclaimed;
	struct crcore_task tasks[8];
	unsigned ntasks;
	struct fake_record records[FAKE_MAX];
	unsigned nrecords;
	int blob;                        /* one for all sections */
	struct fake_undo undo[FAKE_MAX];
	unsigned nundo;
	struct fake_op ops[FAKE_MAX];
	unsigned nops;
	void *data[FAKE_MAX];            /* what data() was given, by reference */
	unsigned ndata;
	int created[FAKE_MAX];           /* by object id, -1: not yet */
};

struct fake *fake_new(const char *so);
void fake_free(struct fake *);       /* closes the plugin, runs all undo entries first */
void fake_option(struct fake *, const char *name, struct crcore_value);
void fake_open(struct fake *);
void fake_close(struct fake *);
void fake_reopen(struct fake *);

/* A task of the tree, besides the test process itself, which is task 0. */
void fake_task(struct fake *, pid_t pid, pid_t sid);
/* An object from a descriptor of this process; fake_file(): one without a descriptor. */
struct crcore_object *fake_object(struct fake *, int fd);
struct crcore_object *fake_file(struct fake *, const char *proc_path, uint32_t use, uint32_t flags);
int fake_claim(struct fake *, const struct crcore_object *); /* one claim, err cleared first */
int fake_save(struct fake *);
int fake_load(struct fake *);
int fake_create(struct fake *, uint32_t id);
void fake_undo(struct fake *, bool success);
/* A record that a test writes by hand, field by field; at most 600 bytes. */
struct fake_bytes { uint8_t v[600]; size_t len; };
void fake_put_number(struct fake_bytes *, unsigned field, uint64_t v);
void fake_put(struct fake_bytes *, unsigned field, const void *p, size_t len);
void fake_add(struct fake *, const char *section, const struct fake_bytes *);

/* Loads the records so many times, each time damaged in another way. What the plugin makes of
 * them is its business, but it must come back; returns how often it refused them. */
unsigned fake_damage(struct fake *, unsigned times);
#endif
