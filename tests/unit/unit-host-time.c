/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin host and time: hooks that hang, in every way that we thought of. */
#include <signal.h>
#include <sys/wait.h>
#include "made-up.h"

static volatile bool forever = true;

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(hang_is_left), T(hang_in_malloc_leaves_the_heap_whole),
		T(limit_is_for_each_hook), T(nested_calls_have_their_own_time),
		T(services_are_not_left_half_way), T(limit_holds_in_a_fork),
	};
	log_level = 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
