/* SPDX-License-Identifier: Apache-2.0 */
/* See made-up.h. */
#include <signal.h>
#include "made-up.h"

/* -- a policy that names what the test wants -------------------------------- */

const char *policy_names[8];
bool policy_sets_nothing;
struct made_up_order policy_orders[8];
struct crcore_value policy_values[16];

static void reset_policy(void)
{
	memset(policy_names, 0, sizeof(policy_names));
	policy_sets_nothing = false;
	memset(policy_orders, 0, sizeof(policy_orders));
	memset(policy_values, 0, sizeof(policy_values));
	for (unsigned i = 0; i < ARRAY_SIZE(policy_values); i++)
		policy_values[i].s = "";
}

const char *policy_plugin(const struct policy *p, unsigned i)
{
	return i < ARRAY_SIZE(policy_names) ? policy_names[i] : NULL;
}

struct node *policy_plugin_node(struct policy *p, const char *name)
{
	static struct node limit = { .type = NODE_SCALAR, .key = (char *)"time-limit", .text = (char *)"" };
	static struct node map = { .type = NODE_MAP, .child = &limit };
	return policy_sets_nothing ? NULL : &map;
}

int policy_parse_value(const struct crcore_option *o, const struct node *n, struct crcore_value *ret,
                       struct crcore_error *err)
{
	assert_string_equal(o->name, "time-limit");
	ret->i = LIMIT_MS * MS;
	return 0;
}

int policy_options(struct policy *p, const char *plugin, const struct crcore_option *table,
                   struct crcore_value *ret, struct crcore_error *err)
{
	for (unsigned i = 0; table[i].name; i++)
		ret[i] = policy_values[i];
	return 0;
}

int policy_order(const struct policy *p, int (*fn)(void *, const char *, const char *, bool,
                 const char *, const struct node *), void *arg)
{
	struct node where = { .origin = "web.yaml", .line = 7, .column = 3 };

	for (unsigned i = 0; i < ARRAY_SIZE(policy_orders) && policy_orders[i].plugin; i++) {
		const struct made_up_order *o = &policy_orders[i];
		int rc = fn(arg, o->stage, o->plugin, o->before, o->other, &where);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* -- plugins made up in memory ---------------------------------------------- */

static const char *const letter[] = { "a", "b", "c", "d", "e", "f" };
struct made_up *now;

int set_up(void **state)
{
	struct made_up *m = calloc(1, sizeof(*m));

	reset_policy();
	m->h.plugins = m->list;
	m->h.nplugins = 3;
	for (unsigned i = 0; i < 6; i++) {
		m->list[i] = &m->ctx[i];
		m->ctx[i] = (struct crcore_ctx){ .host = &m->h, .index = i, .time_limit = LIMIT_MS * MS };
		m->ctx[i].p.name = letter[i];
		m->ctx[i].state = &m->ctx[i];
	}
	*state = now = m;
	return 0;
}

int tear_down(void **state)
{
	struct made_up *m = *state;

	host_undo(&m->h, true);
	limit_free(&m->h);
	for (unsigned s = 0; s < NSTAGES; s++)
		free(m->h.order[s]);
	for (unsigned i = 0; i < 6; i++)
		free(m->ctx[i].objects);
	free(m);
	return 0;
}

void contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" is not in \"%s\"", part, text);
}

int blocks(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGRTMAX - 3);
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (;;)
		pause();
}
