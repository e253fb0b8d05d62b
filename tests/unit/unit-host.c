/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin host without crcore around it: a made-up policy, plugins made up
 * in memory (order, claims, stages, time limits, undo) and real ones
 * (tests/abi/misbehave.c, tests/abi/first-abi.so) for what only a shared
 * object can get wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>
#include "core/host/internal.h"
#include "core/util/util.h"

#define MS 1000000ll
#define LIMIT_MS 500 /* of a hook; generous, since test machines are busy */

/* -- a policy that names what the test wants -------------------------------- */

struct made_up_order { const char *stage, *plugin; bool before; const char *other; };

static const char *policy_names[8];
static struct made_up_order policy_orders[8];
static struct crcore_value policy_values[16];

static void reset_policy(void)
{
	memset(policy_names, 0, sizeof(policy_names));
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
	return &map;
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

struct made_up { /* a host with plugins a, b, c, ... */
	struct host h;
	struct crcore_ctx ctx[6], *list[6];
	char calls[64]; /* names of the plugins called, in order */
};

static const char *const letter[] = { "a", "b", "c", "d", "e", "f" };
static struct made_up *now; /* that of the running test, for hooks without a handle */

static int set_up(void **state)
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

static int tear_down(void **state)
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

static void expect_order(struct made_up *m, enum stage stage, const char *want)
{
	unsigned n;
	struct crcore_ctx *const *v = host_order(&m->h, stage, &n);
	char got[8] = "";

	for (unsigned i = 0; i < n; i++)
		strcat(got, v[i]->p.name);
	assert_string_equal(got, want);
}

static void contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" is not in \"%s\"", part, text);
}

#define NAMES(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define ORDER(...) ((const struct crcore_order[]){ __VA_ARGS__, { NULL, NULL, NULL } })

/* -- order --------------------------------------------------------------------- */

static void order_as_in_policy(void **state)
{
	struct made_up *m = *state;

	assert_int_equal(host_sort(&m->h, NULL), 0);
	for (unsigned s = 0; s < NSTAGES; s++)
		expect_order(m, s, "abc");
}

static void order_before_and_after(void **state)
{
	struct made_up *m = *state;

	m->ctx[0].p.order = ORDER({ "create", NULL, NAMES("c") }, { "save", NULL, NAMES("b") });
	m->ctx[2].p.order = ORDER({ "settle", NAMES("a", "?x"), NULL });
	policy_orders[0] = (struct made_up_order){ "dump", "c", true, "b" };
	policy_orders[1] = (struct made_up_order){ "ask", "?y", true, "b" };
	assert_int_equal(host_sort(&m->h, NULL), 0);
	expect_order(m, STAGE_CREATE, "bca");
	expect_order(m, STAGE_SETTLE, "bca");
	expect_order(m, STAGE_SAVE, "cba");
	expect_order(m, STAGE_HOLD, "acb");
	expect_order(m, STAGE_ASK, "acb");
	expect_order(m, STAGE_EMIT, "abc");
	expect_order(m, STAGE_OPEN, "abc");
}

static void order_of_every_stage(void **state)
{
	struct made_up *m = *state;

	m->ctx[1].p.order = ORDER({ NULL, NAMES("a"), NULL });
	assert_int_equal(host_sort(&m->h, NULL), 0);
	for (unsigned s = 0; s < NSTAGES; s++)
		expect_order(m, s, "bac");
}

static void order_cycle_is_shown(void **state)
{
	struct made_up *m = *state;
	struct crcore_error err = CRCORE_ERROR_INIT;

	m->h.nplugins = 5; /* e waits for the cycle and is not on it; d is free */
	m->ctx[0].p.order = ORDER({ "save", NULL, NAMES("b") });
	m->ctx[1].p.order = ORDER({ NULL, NULL, NAMES("c") });
	m->ctx[4].p.order = ORDER({ "save", NULL, NAMES("a") });
	policy_orders[0] = (struct made_up_order){ "save", "a", true, "c" };
	assert_int_equal(host_sort(&m->h, &err), -ELOOP);
	contains(err.message, "\"save\"");
	contains(err.message, "a after b (a)");
	contains(err.message, "b after c (b)");
	contains(err.message, "c after a (web.yaml:7:3)");
	assert_null(strstr(err.message, "e after"));
	assert_true(err.advice[0]);
}

static void order_unknown_names(void **state)
{
	struct made_up *m = *state;
	struct crcore_error err = CRCORE_ERROR_INIT, err2 = CRCORE_ERROR_INIT;

	policy_orders[0] = (struct made_up_order){ "save", "a", true, "tcp" };
	assert_int_equal(host_sort(&m->h, &err), -EINVAL);
	contains(err.message, "web.yaml:7:3 names the plugin \"tcp\"");
	policy_orders[0] = (struct made_up_order){ "lunch", "a", true, "b" };
	assert_int_equal(host_sort(&m->h, &err2), -EINVAL);
	contains(err2.message, "stage \"lunch\"");
	contains(err2.advice, "settle");
}

/* -- claims ------------------------------------------------------------------- */

static int claim_answer[6];

static int made_up_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct crcore_ctx *ctx = state;
	int a = claim_answer[ctx->index];

	strcat(now->calls, ctx->p.name);
	return a < 0 ? crcore_fail(err, a, "is broken") : a;
}

static int made_up_create(void *state, uint32_t id, struct crcore_error *err)
{
	return -ENOSYS;
}

/* Returns the winner's letter or the error. */
static int claim(struct made_up *m, int a, int b, int c, struct crcore_error *err)
{
	struct crcore_object obj = { .size = sizeof(obj), .id = 1, .pid = 42, .fd = 7, .link = "/x/y" };
	struct crcore_ctx *winner = NULL;
	const int answer[] = { a, b, c };

	*err = (struct crcore_error)CRCORE_ERROR_INIT;
	memcpy(claim_answer, answer, sizeof(answer));
	for (unsigned i = 0; i < 3; i++) {
		m->ctx[i].p.claim = made_up_claim;
		m->ctx[i].p.create = made_up_create;
	}
	if (!m->h.order[0])
		assert_int_equal(host_sort(&m->h, NULL), 0);
	int rc = host_claim(&m->h, &obj, &winner, err);
	if (rc < 0) {
		assert_int_equal(err->code, rc);
		assert_int_equal(err->pid, 42);
		assert_int_equal(err->fd, 7);
		assert_string_equal(err->object, "/x/y");
		return rc;
	}
	assert_int_equal(err->code, 0);
	return winner->p.name[0];
}

static void claim_most_exact_wins(void **state)
{
	struct crcore_error err;

	assert_int_equal(claim(*state, 1, 2, 0, &err), 'b');
	assert_int_equal(claim(*state, 0, 0, 1, &err), 'c');
	assert_int_equal(claim(*state, 1, 1, 2, &err), 'c');
	assert_int_equal(claim(*state, 2, 1, 1, &err), 'a');
	assert_int_equal(claim(*state, 2, 3, 1, &err), 'b');
}

static void claim_tie_and_nobody(void **state)
{
	struct crcore_error err;

	assert_int_equal(claim(*state, 2, 0, 2, &err), -EEXIST);
	contains(err.message, "a and c");
	assert_int_equal(claim(*state, 1, 1, 0, &err), -EEXIST);
	contains(err.message, "generic");
	assert_int_equal(claim(*state, 0, 0, 0, &err), -ENOTSUP);
	assert_true(err.advice[0]);
	assert_int_equal(claim(*state, 4, 1, 0, &err), 'b'); /* not an answer */
	assert_int_equal(claim(*state, 4, 0, 0, &err), -EINVAL);
	assert_string_equal(err.plugin, "a");
}

static void claim_refusals(void **state)
{
	struct crcore_error err;

	assert_int_equal(claim(*state, 0, -EBUSY, 0, &err), -EBUSY);
	assert_string_equal(err.plugin, "b");
	contains(err.message, "is broken");
	assert_int_equal(claim(*state, 0, -EBUSY, 1, &err), 'c');
}

static void claim_needs_create(void **state)
{
	struct made_up *m = *state;
	struct crcore_object obj = { .pid = 1, .fd = -1, .link = "x" };
	struct crcore_error err;
	struct crcore_ctx *winner;

	assert_int_equal(claim(m, 2, 0, 0, &err), 'a');
	m->ctx[0].p.create = NULL;
	assert_int_equal(host_claim(&m->h, &obj, &winner, &err), -ENOTSUP);
	contains(err.message, "no hook create");
}

static void own_lists_objects(void **state)
{
	struct made_up *m = *state;
	struct crcore_object obj[100];

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(host_own(&m->ctx[1], &obj[i], NULL), 0);
	assert_ptr_equal(host_table.object(&m->ctx[1], 99), &obj[99]);
	assert_null(host_table.object(&m->ctx[1], 100));
	assert_null(host_table.object(&m->ctx[0], 0));
}

/* -- stages ---------------------------------------------------------------------- */

static int made_up_hook(void *state, struct crcore_error *err)
{
	struct crcore_ctx *ctx = state;

	strcat(now->calls, ctx->p.name);
	return ctx->index == 1 ? crcore_fail(err, -EIO, "no") : 0;
}

static void stage_stops_at_failure(void **state)
{
	struct made_up *m = *state;
	struct crcore_error err = CRCORE_ERROR_INIT, err2 = CRCORE_ERROR_INIT;

	m->h.nplugins = 4;
	for (unsigned i = 0; i < 4; i++)
		m->ctx[i].p.observe = m->ctx[i].p.release = i == 3 ? NULL : made_up_hook;
	assert_int_equal(host_sort(&m->h, NULL), 0);
	assert_int_equal(host_run(&m->h, STAGE_OBSERVE, &err), -EIO);
	assert_string_equal(m->calls, "ab");
	assert_string_equal(err.plugin, "b");
	assert_string_equal(err.message, "no");
	m->calls[0] = 0;
	assert_int_equal(host_run(&m->h, STAGE_RELEASE, &err2), -EIO);
	assert_string_equal(m->calls, "abc"); /* release runs to the end */
	assert_int_equal(host_run(&m->h, STAGE_SETTLE, NULL), 0); /* nobody has it */
}

/* -- errors ------------------------------------------------------------------------ */

static int fails_silently(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	return *(int *)arg;
}

static int fills_and_succeeds(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	crcore_fail(err, -EIO, "never mind");
	return 0;
}

static void errors_are_made_proper(void **state)
{
	struct made_up *m = *state;
	struct crcore_error err = CRCORE_ERROR_INIT;
	int rc = -EPIPE;

	assert_int_equal(host_call(&m->ctx[0], STAGE_HOLD, fills_and_succeeds, NULL, &err), 0);
	assert_int_equal(err.code, 0);
	assert_int_equal(host_call(&m->ctx[0], STAGE_HOLD, fails_silently, &rc, &err), -EPIPE);
	assert_int_equal(err.code, -EPIPE);
	contains(err.message, "without saying why: Broken pipe");
	rc = -123456;
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	assert_int_equal(host_call(&m->ctx[0], STAGE_HOLD, fails_silently, &rc, &err), -EINVAL);
	contains(err.message, "\"hold\" returned -123456, which is no errno");
}

/* -- time limits ------------------------------------------------------------------- */

static volatile bool forever = true;

static int blocks(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGRTMAX - 3);
	sigprocmask(SIG_BLOCK, &all, NULL);
	while (forever)
		pause();
	return 0;
}

static int uses_malloc(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	for (unsigned i = 0; forever; i++) {
		void *volatile p = malloc(i % 3000 + 1);
		free(p);
	}
	return 0;
}

static int is_slow(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	struct timespec t = { 0, *(long *)arg };

	while (nanosleep(&t, &t) < 0)
		continue;
	return 5;
}

static void hang_is_left(void **state)
{
	struct made_up *m = *state;
	struct crcore_error err = CRCORE_ERROR_INIT, err2 = CRCORE_ERROR_INIT;
	uint64_t t = now_ns();
	sigset_t mask;
	long ms = MS;

	assert_int_equal(host_call(&m->ctx[0], STAGE_HOLD, blocks, NULL, &err), -ETIMEDOUT);
	assert_in_range(now_ns() - t, LIMIT_MS * MS, 10000 * MS);
	assert_true(m->ctx[0].dead);
	assert_string_equal(err.plugin, "a");
	contains(err.message, "\"hold\" within 0.5 s");
	contains(err.advice, "time-limit");
	sigprocmask(SIG_BLOCK, NULL, &mask); /* what the hook blocked is open again */
	assert_false(sigismember(&mask, SIGTERM));
	assert_int_equal(host_call(&m->ctx[0], STAGE_SAVE, is_slow, &ms, &err2), -ETIMEDOUT);
	contains(err2.message, "did not come back from an earlier one");
	assert_int_equal(host_call(&m->ctx[1], STAGE_SAVE, is_slow, &ms, NULL), 5);
}

/* The sanitizer's malloc is in the program itself, where nothing tells it from a hook. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define MALLOC_IS_OURS true
#else
#define MALLOC_IS_OURS false
#endif

static void hang_in_malloc_leaves_the_heap_whole(void **state)
{
	struct made_up *m = *state;

	if (MALLOC_IS_OURS)
		skip();

	for (unsigned i = 0; i < 6; i++) {
		m->ctx[i].time_limit = 20 * MS;
		assert_int_equal(host_call(&m->ctx[i], STAGE_HOLD, uses_malloc, NULL, NULL), -ETIMEDOUT);
		for (unsigned k = 1; k < 200; k++)
			free(malloc(k * 17));
	}
}

static void limit_is_for_each_hook(void **state)
{
	struct made_up *m = *state;
	long ms = 400 * MS;

	m->ctx[0].time_limit = m->ctx[1].time_limit = 1000 * MS;
	assert_int_equal(limit_start(&m->h, NULL), 0); /* one series, longer than one limit */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(host_call(&m->ctx[i % 2], STAGE_HOLD, is_slow, &ms, NULL), 5);
	limit_stop(&m->h);
	assert_int_equal(m->h.limit == NULL, 0);
}

static int calls_another(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	struct crcore_ctx *other = &ctx->host->plugins[ctx->index + 1][0];
	long ms = arg ? 0 : 900 * MS;

	service_enter();
	int rc = host_call(other, STAGE_CREATE, arg ? blocks : is_slow, &ms, err);
	service_leave();
	ms = 700 * MS;
	is_slow(NULL, &ms, NULL); /* 1600 ms in all, 700 of its own */
	return rc;
}

static void nested_calls_have_their_own_time(void **state)
{
	struct made_up *m = *state;
	struct crcore_error err = CRCORE_ERROR_INIT;

	m->ctx[0].time_limit = m->ctx[1].time_limit = 1500 * MS;
	assert_int_equal(host_call(&m->ctx[0], STAGE_CREATE, calls_another, NULL, &err), 5);
	assert_int_equal(host_call(&m->ctx[0], STAGE_CREATE, calls_another, &err, &err), -ETIMEDOUT);
	assert_string_equal(err.plugin, "b"); /* who hung, not who waited for it */
	assert_true(m->ctx[1].dead);
	assert_false(m->ctx[0].dead);
}

static int slow_service(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	long ms = 700 * MS;

	service_enter();
	is_slow(NULL, &ms, NULL);
	*(int *)arg += 1; /* the service is not left half way ... */
	service_leave();
	*(int *)arg += 10; /* ... but its end is the end of the hook */
	return 0;
}

static void services_are_not_left_half_way(void **state)
{
	struct made_up *m = *state;
	int done = 0;

	assert_int_equal(host_call(&m->ctx[0], STAGE_SAVE, slow_service, &done, NULL), -ETIMEDOUT);
	assert_int_equal(done, 1);
}

static void limit_holds_in_a_fork(void **state)
{
	struct made_up *m = *state;
	long ms = MS;
	int status = -1;

	assert_int_equal(host_call(&m->ctx[0], STAGE_HOLD, is_slow, &ms, NULL), 5);
	pid_t pid = fork();
	if (!pid)
		_exit(host_call(&m->ctx[0], STAGE_HOLD, blocks, NULL, NULL) == -ETIMEDOUT ? 3 : 4);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 3);
}

/* -- undo ------------------------------------------------------------------------- */

static void note(void *arg)
{
	strcat(now->calls, arg);
}

static void never_returns(void *arg)
{
	note(arg);
	blocks(NULL, NULL, NULL);
}

static void undo_in_reverse(void **state)
{
	struct made_up *m = *state;

	host_undo_push(&m->h, &m->ctx[0], note, "1", false, NULL);
	host_undo_push(&m->h, NULL, note, "2", true, NULL);
	host_table.undo(&m->ctx[1], note, "3", false, NULL);
	host_undo(&m->h, false);
	assert_string_equal(m->calls, "321");
	host_undo(&m->h, false);
	host_undo_push(&m->h, &m->ctx[0], note, "4", true, NULL);
	host_undo_push(&m->h, &m->ctx[0], note, "5", false, NULL);
	host_undo(&m->h, true);
	assert_string_equal(m->calls, "3214");
	assert_null(m->h.undo);
}

static void undo_of_the_dead_and_hanging(void **state)
{
	struct made_up *m = *state;

	m->ctx[0].dead = true;
	host_undo_push(&m->h, &m->ctx[0], note, "1", false, NULL);
	host_undo_push(&m->h, &m->ctx[1], never_returns, "2", false, NULL);
	host_undo_push(&m->h, &m->ctx[2], note, "3", false, NULL);
	host_undo(&m->h, false);
	assert_string_equal(m->calls, "321");
	assert_true(m->ctx[1].dead);
}

/* -- services ----------------------------------------------------------------------- */

static void services_of_other_stages(void **state)
{
	struct made_up *m = *state;
	struct crcore_error err = CRCORE_ERROR_INIT;
	uint32_t op;

	assert_int_equal(host_table.put_record(&m->ctx[0], "x", "", 0, &err), -EINVAL);
	contains(err.message, "put_record");
	assert_int_equal(host_table.blob(&m->ctx[0], "x", NULL), -EINVAL);
	assert_int_equal(host_table.need(&m->ctx[0], 1, NULL), -EINVAL);
	assert_int_equal(host_table.fetch(&m->ctx[0], NULL, 1, &op, NULL), -EINVAL);
	assert_null(host_table.task(&m->ctx[0], 0));
	assert_null(host_table.option(&m->ctx[0], "x"));
}

static int take_record(void *arg, struct crcore_ctx *ctx, const char *section, const void *msg,
                       size_t len, struct crcore_error *err)
{
	snprintf(arg, 64, "%s.%s:%.*s", ctx->p.name, section, (int)len, (const char *)msg);
	return 0;
}

static void records_go_to_declared_sections(void **state)
{
	struct made_up *m = *state;
	struct crcore_error err = CRCORE_ERROR_INIT;
	static const struct crcore_section sections[] = { { "s", 1, NULL }, { NULL, 0, NULL } };
	char got[64] = "";

	m->h.services.put_record = take_record;
	m->h.services.arg = got;
	m->ctx[0].p.sections = sections;
	assert_int_equal(host_table.put_record(&m->ctx[0], "s", "abc", 3, NULL), 0);
	assert_string_equal(got, "a.s:abc");
	assert_int_equal(host_table.put_record(&m->ctx[0], "t", "abc", 3, &err), -EINVAL);
	contains(err.message, "\"t\" that it does not declare");
}

/* -- real shared objects --------------------------------------------------------------- */

static int load(const char *plugin, const char *how, struct crcore_error *err)
{
	struct host *h = NULL;

	*err = (struct crcore_error)CRCORE_ERROR_INIT;
	policy_names[0] = plugin;
	setenv("MISBEHAVE", how, 1);
	int rc = host_load(NULL, &h, err);
	unsetenv("MISBEHAVE");
	assert_int_equal(rc < 0, h == NULL);
	host_free(h);
	return rc;
}

static void load_good(void **state)
{
	struct crcore_error err;

	assert_int_equal(load(MISBEHAVE_SO, "", &err), 0);
	assert_int_equal(load(MISBEHAVE_SO, "older", &err), 0);
	assert_int_equal(load(MISBEHAVE_SO, "field-newer-unused", &err), 0);
}

static void load_bad(void **state)
{
	static const struct { const char *how, *says; } bad[] = {
		{ "no-open", "lacks the hook open" },
		{ "no-close", "lacks the hook close" },
		{ "no-claim", "lacks the hook claim" },
		{ "no-create", "lacks the hook create" },
		{ "no-load-record", "lacks the hook load_record" },
		{ "no-sections", "lacks sections" },
		{ "no-name", "is no name for a plugin" },
		{ "bad-name", "\"Not A Name\" is no name for a plugin" },
		{ "no-version", "lacks its version" },
		{ "bad-section", "section \"held\" has version 0" },
		{ "bad-option", "\"time-limit\"" },
		{ "size-zero", "says that its struct crcore_plugin has 0 bytes" },
		{ "size-small", "has 40 bytes" },
		{ "size-huge", "has 1048576 bytes" },
		{ "abi-zero", "version 0 of the plugin ABI" },
		{ "abi-newer", "for version 2 of the plugin ABI, this crcore has version 1" },
		{ "field-newer", "that this crcore does not know" },
		{ "order-nobody", "\"nobody-at-all\", which is not loaded" },
		{ "order-stage", "\"lunch\"" },
		{ "order-itself", "misbehave after misbehave (misbehave)" },
		{ "fail:open", "was told to fail in open" },
		{ "silent:open", "failed in stage \"open\" without saying why" },
		{ "odd:open", "returned -99999" },
		{ "hang:load", "did not come back from stage \"open\"" },
	};
	struct crcore_error err;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		int rc = load(MISBEHAVE_SO, bad[i].how, &err);
		if (rc >= 0)
			fail_msg("%s was loaded", bad[i].how);
		contains(err.message, bad[i].says);
		assert_true(err.code < 0);
		if (!strstr(bad[i].how, "order-"))
			assert_true(!strncmp(err.plugin, "misbehave", 9) || !strcmp(err.plugin, "Not A Name"));
	}
}

static void hang_in_open_and_close(void **state)
{
	struct crcore_error err;

	assert_int_equal(load(MISBEHAVE_SO, "spin:open", &err), -ETIMEDOUT);
	assert_int_equal(load(MISBEHAVE_SO, "hang:close", &err), 0); /* only a warning */
}

static void load_what_is_no_plugin(void **state)
{
	struct crcore_error err;

	assert_int_equal(load(NO_SYMBOL_SO, "", &err), -ENOEXEC);
	contains(err.message, "exports no struct named crcore_plugin");
	assert_int_equal(load(UNDEFINED_SO, "", &err), -ELIBACC);
	contains(err.message, "undefined symbol: misbehave_undefined");
	assert_int_equal(load("/proc/self/nothing.so", "", &err), -ENOENT);
	assert_int_equal(load("no-such-plugin", "", &err), -ENOENT);
	contains(err.message, "there is no plugin no-such-plugin.so in ");
	assert_int_equal(load("No Name", "", &err), -EINVAL);
}

static void load_twice(void **state)
{
	struct crcore_error err;

	policy_names[1] = MISBEHAVE_SO;
	assert_int_equal(load(MISBEHAVE_SO, "", &err), -EEXIST);
	contains(err.message, "loaded already, from " MISBEHAVE_SO);
}

static void load_by_name(void **state)
{
	struct crcore_error err;
	char dir[] = MISBEHAVE_SO;

	*strrchr(dir, '/') = 0;
	setenv("CRCORE_PLUGIN_PATH", dir, 1);
	assert_int_equal(load("misbehave", "", &err), 0);
	assert_int_equal(load("misbehave", "other-name", &err), -EINVAL);
	contains(err.message, "is named \"somebody-else\"");
	unsetenv("CRCORE_PLUGIN_PATH");
}

static void load_untrusted(void **state)
{
	char dir[] = "/tmp/unit-host-XXXXXX", file[64], command[256];
	struct crcore_error err;

	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/x.so", dir);
	snprintf(command, sizeof(command), "cp %s %s && chmod 755 %s", MISBEHAVE_SO, file, file);
	assert_int_equal(system(command), 0);
	assert_int_equal(load(file, "", &err), 0);
	chmod(file, 0757);
	assert_int_equal(load(file, "", &err), -EPERM);
	contains(err.message, "is writable by everybody");
	chmod(file, 0755);
	chmod(dir, 0777);
	assert_int_equal(load(file, "", &err), -EPERM);
	assert_string_equal(err.object, dir);
	chmod(dir, 0700);
	unlink(file);
	rmdir(dir);
}

static void load_first_abi(void **state)
{
#if defined(__x86_64__)
	struct crcore_error err;
	struct crcore_object obj = { .size = sizeof(obj), .link = "first-abi", .fd = 3 };
	struct crcore_ctx *winner = NULL;
	struct host *h;

	policy_values[0].i = 13; /* option "number", which it refuses */
	assert_int_equal(load(FIRST_ABI_SO, "", &err), -ERANGE);
	assert_string_equal(err.plugin, "first-abi");
	assert_string_equal(err.object, "number");
	assert_string_equal(err.advice, "take another number");
	policy_values[0].i = 12;
	policy_values[1].s = "red";
	assert_int_equal(host_load(NULL, &h, NULL), 0);
	assert_int_equal(host_claim(h, &obj, &winner, NULL), 0);
	assert_ptr_equal(winner, host_find(h, "first-abi"));
	for (enum stage s = STAGE_OPEN; s < NSTAGES; s++)
		assert_int_equal(host_run(h, s, NULL), 0);
	host_free(h);
#else
	skip(); /* the binary is kept for one processor */
#endif
}

static void print_all(void **state)
{
	static const char *const text_parts[] = {
		"misbehave 1: misbehaves on demand", "claims    /dev/kmsg (exact)",
		"hooks     open close observe claim review ask hold save_object save load_record",
		"options   mark: string, default \"\". file that exists", "sections  held, version 1",
		"Order in each stage", "ABI 1, 0.5 s a hook",
	};
	struct host *h;
	char *text = NULL;
	size_t len;

	policy_names[0] = MISBEHAVE_SO;
	assert_int_equal(host_look(NULL, &h, NULL), 0);
	for (int json = 0; json < 2; json++) {
		FILE *f = open_memstream(&text, &len);
		host_print(h, f, json);
		fclose(f);
		for (unsigned i = 0; !json && i < ARRAY_SIZE(text_parts); i++)
			contains(text, text_parts[i]);
		if (json)
			contains(text, "\"emit\": [");
		free(text);
	}
	host_free(h);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(order_as_in_policy), T(order_before_and_after), T(order_of_every_stage),
		T(order_cycle_is_shown), T(order_unknown_names),
		T(claim_most_exact_wins), T(claim_tie_and_nobody), T(claim_refusals),
		T(claim_needs_create), T(own_lists_objects),
		T(stage_stops_at_failure), T(errors_are_made_proper),
		T(hang_is_left), T(hang_in_malloc_leaves_the_heap_whole), T(limit_is_for_each_hook),
		T(nested_calls_have_their_own_time), T(services_are_not_left_half_way),
		T(limit_holds_in_a_fork),
		T(undo_in_reverse), T(undo_of_the_dead_and_hanging),
		T(services_of_other_stages), T(records_go_to_declared_sections),
		T(load_good), T(load_by_name), T(load_what_is_no_plugin), T(load_twice), T(load_untrusted),
		T(load_first_abi), T(print_all),
		T(load_bad), T(hang_in_open_and_close), /* last: one that hung stays mapped */
	};
	log_level = 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
