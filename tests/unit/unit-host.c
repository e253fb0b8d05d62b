/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin host with plugins made up in memory: order, claims, stages, undo, services. */
#include "made-up.h"
#include <signal.h>

static void expect_order(struct made_up *m, enum stage stage, const char *want)
{
	unsigned n;
	struct crcore_ctx *const *v = host_order(&m->h, stage, &n);
	char got[8] = "";

	for (unsigned i = 0; i < n; i++)
		strcat(got, v[i]->p.name);
	assert_string_equal(got, want);
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

/* One that would only stop would be waited for without end. */
static void processes_end(void **state)
{
	struct made_up *m = *state;
	struct crcore_error err = CRCORE_ERROR_INIT;

	alarm(20);
	for (int i = 0; i < 3; i++) {
		int fd = host_table.ended(&m->ctx[0], (int[]){ 0, 7 << 8, SIGTERM | 0x80 }[i], &err);
		assert_true(fd >= 0);
		close(fd);
	}
	assert_int_equal(host_table.ended(&m->ctx[0], SIGSTOP, &err), -EINVAL);
	contains(err.message, "0x13");
	assert_int_equal(host_table.ended(&m->ctx[0], 0x7f, NULL), -EINVAL);
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(order_as_in_policy), T(order_before_and_after), T(order_of_every_stage),
		T(order_cycle_is_shown), T(order_unknown_names), T(claim_most_exact_wins),
		T(claim_tie_and_nobody), T(claim_refusals), T(claim_needs_create),
		T(own_lists_objects), T(stage_stops_at_failure), T(errors_are_made_proper),
		T(undo_in_reverse), T(undo_of_the_dead_and_hanging), T(services_of_other_stages),
		T(records_go_to_declared_sections), T(processes_end),
	};
	log_level = 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
