/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin host without crcore around it: a made-up policy, and plugins made up
 * in memory. What the tests of the host share.
 */
#ifndef MADE_UP_H
#define MADE_UP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "core/host/internal.h"
#include "core/util/util.h"

#define MS 1000000ll
#define LIMIT_MS 500 /* of a hook; generous, since test machines are busy */

/* What the policy names; empty when a test begins. */
struct made_up_order { const char *stage, *plugin; bool before; const char *other; };
extern const char *policy_names[8];
extern bool policy_sets_nothing; /* for any plugin */
extern struct made_up_order policy_orders[8];
extern struct crcore_value policy_values[16];

struct made_up { /* a host with plugins a, b, c, ... */
	struct host h;
	struct crcore_ctx ctx[6], *list[6];
	char calls[64]; /* names of the plugins called, in order */
};
extern struct made_up *now; /* that of the running test, for hooks without a handle */

int set_up(void **state);
int tear_down(void **state);
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

void contains(const char *text, const char *part);
/* A hook that never comes back and blocks signals. */
int blocks(struct crcore_ctx *, void *arg, struct crcore_error *);

#endif
