/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "aio": contexts of io_setup(2).
 *
 *   aio.c      the plugin: options, sections, hooks
 *   kernel.c   contexts, as the kernel has them (plugins/bpf/peek.h)
 *   save.c     dump
 *   restore.c  records, checks;  build.c: what a task does to have a context again
 *
 * A context belongs to an address space, its number is the address of its ring, a mapping.
 * Head, tail and events stand there; how many requests are in flight, and whether they end
 * by themselves, the kernel tells nobody. To find out by trying would disturb the ring, so
 * it is read from the kernel's own memory.
 */
#ifndef CRCORE_PLUGIN_AIO_H
#define CRCORE_PLUGIN_AIO_H

#include <crcore/plugin.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <unistd.h>
#include "aio.pb-c.h"
#include "plugins/bpf/peek.h"
#include "plugins/record.h"

#define RING_NAME "/[aio] (deleted)"
#define RING_MAGIC 0xa10a10a1u
#define EVENT_SIZE sizeof(struct io_event)
#define SLOTS_MAX (1u << 24)

/* What a ring begins with, in the memory of the program. */
struct ring {
	uint32_t id, nr, head, tail;
	uint32_t magic, compat, incompat, header_length;
};

/* ---- contexts ---- */

struct context {
	uint64_t address, size; /* of the ring */
	uint64_t inode;         /* of the file that the ring maps */
	uint32_t slots, tail, requests;
	uint32_t unread;        /* events in the ring that count as taken, at least */
	uint32_t in_flight;     /* requests of which anything is left to do */
	bool waits;             /* some of them are for what may never happen: IOCB_CMD_POLL */
};

struct kernel;

int kernel_open(struct kernel **ret, struct crcore_error *err);
void kernel_close(struct kernel *); /* NULL is fine */
/* The context of a task whose ring is that file: 1, 0: it has none, or a negative errno.
 * number: where in the table it should be. */
int kernel_find(struct kernel *, pid_t pid, uint64_t inode, uint32_t number, struct context *ret,
                struct crcore_error *err);

/* ---- the plugin ---- */

struct aio {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	int64_t wait_ns;
	struct kernel *kernel; /* dump: NULL until there is a context */
	Aio__Context **recs;   /* restore */
	unsigned nrecs;
};

static inline uint64_t slot_offset(uint32_t slot)
{
	return sizeof(struct ring) + slot * EVENT_SIZE;
}

/* save.c */
int aio_claim(void *state, const struct crcore_object *obj, struct crcore_error *err);
int aio_hold(void *state, struct crcore_error *err);
int aio_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err);

/* restore.c */
int aio_load_record(void *state, const char *section, uint32_t version, const void *msg, size_t len,
                    struct crcore_error *err);
int aio_check(void *state, struct crcore_error *err);
int aio_create(void *state, uint32_t object, struct crcore_error *err);
const Aio__Context *aio_find(const struct aio *, uint32_t object);

/* build.c */
int aio_map(void *state, uint32_t object, const struct crcore_mapping *const *v, uint32_t n,
            uint64_t scratch, uint64_t scratch_len, struct crcore_program *p,
            struct crcore_error *err);

#endif
