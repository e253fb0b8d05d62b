/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the host share and nobody else needs. The order of life:
 * find.c finds a file, load.c opens it and copies its struct, declared.c checks
 * what it declares, order.c sorts, call.c runs hooks, undo.c takes back.
 */
#ifndef CRCORE_HOST_INTERNAL_H
#define CRCORE_HOST_INTERNAL_H

#include <limits.h>
#include <sys/stat.h>
#include "core/host/host.h"

/* -- find.c: which file is meant, and may it be trusted -- */
/* A name that the ABI allows: [a-z0-9-]+, short enough for an error's plugin field. */
bool host_valid_name(const char *name);
/* What is the same for all plugins that are looked for in a row. */
struct finder {
	char dirs[3 * PATH_MAX];    /* that are searched */
	/* The executable that runs and the directories above it. Whoever can change those
	 * is trusted already: a developer's build tree works, also under sudo. */
	struct stat self[24];
	unsigned nself;
	char trusted[PATH_MAX]; /* the last file that was: no directory above it is looked at again */
};
void finder_start(struct finder *);
/* Real path of the plugin that the policy calls key. Caller frees. */
int host_find_file(const struct finder *, const char *key, char **ret, struct crcore_error *);
/* Refuses a file that somebody else could have written. */
int host_trust_file(struct finder *, const char *path, struct crcore_error *);

/* -- declared.c: is what the plugin says of itself sound -- */
/* Takes the exported struct (of symbol_size bytes) into ctx->p, zero-padded. */
int host_take_struct(struct crcore_ctx *, const void *exported, size_t symbol_size,
                     struct crcore_error *);
int host_check_declared(const struct crcore_ctx *, struct crcore_error *);

/* -- load.c -- */
/* Is it one that need not be loaded, or not yet? */
bool host_is_spare(const struct host *, const char *name);
/* One plugin, up to its options; it stands in host->plugins then. Or, if it need not be now
 * and may wait, among those that do. */
int host_load_one(struct host *, struct finder *, const char *key, unsigned place, bool now,
                  struct crcore_ctx **ret, struct crcore_error *);
int host_open(struct crcore_ctx *, struct crcore_error *);
/* Closes it, and takes it out of host->plugins. */
void host_drop(struct crcore_ctx *);

/* -- later.c: plugins that wait until something concerns them -- */
/* Lets a plugin wait if it may. 1: it does. */
int later_add(const struct crcore_ctx *, struct crcore_error *);
/* Loads those that the object concerns, or (NULL) some object might. */
int later_load(struct host *, const struct crcore_object *, struct crcore_error *);

/* -- order.c -- */
int host_sort(struct host *, struct crcore_error *);

/* -- call.c: time limits -- */
/* Between start and stop, calls share one arming of the timer. They nest. */
int limit_start(struct host *, struct crcore_error *);
void limit_stop(struct host *);
void limit_free(struct host *);
/* As host_call(), between limit_start() and limit_stop(); also for dead plugins (undo). */
int limit_call(struct crcore_ctx *, enum stage, int (*fn)(struct crcore_ctx *, void *arg,
               struct crcore_error *), void *arg, struct crcore_error *);
/* Around what the core does on behalf of a hook: the hook is not left there. */
void service_enter(void);
void service_leave(void);
void service_alive(void); /* the hook gets its full time again */

/* -- services.c: the table that plugins are given -- */
extern const struct crcore_host host_table;

#endif
