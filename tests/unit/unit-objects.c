/* SPDX-License-Identifier: Apache-2.0 */
/* Objects of a restore that need others: each is made once, after those that it needs. What needs
 * what an image says, which may say anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include "core/restore/restore.h"

#define MANY 50000

static Crcore__Object records[MANY];
static struct object_fd objects[MANY];
static uint32_t needs[MANY + 1]; /* of object i + 1, by i; 0: none */
static uint32_t made[MANY], nmade;

static int plan(void *state, uint32_t id, uint32_t *ret, uint32_t max, struct crcore_error *err)
{
	*ret = needs[id - 1];
	return needs[id - 1] != 0;
}

static int create(void *state, uint32_t id, struct crcore_error *err)
{
	made[nmade++] = id;
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static struct host host;
static struct crcore_ctx ctx = { .host = &host, .time_limit = 60000000000,
	.p = { .name = "made-up", .plan = plan, .create = create } };

/* Objects 1 to n. */
static struct restore setup(unsigned n)
{
	nmade = 0;
	for (unsigned i = 0; i < n; i++) {
		crcore__object__init(&records[i]);
		records[i].id = i + 1;
		records[i].plugin = records[i].label = (char *)"made-up";
		objects[i] = (struct object_fd){ .id = i + 1, .fd = -1, .owner = &ctx,
			                         .rec = &records[i] };
		needs[i] = 0;
	}
	return (struct restore){ .objects = objects, .nobjects = n };
}

static void in_their_order(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct restore r = setup(5);

	needs[0] = 4;
	needs[3] = 5;
	needs[1] = 5;
	assert_true(object_need(&r, 1, &err) >= 0);
	assert_true(object_need(&r, 2, &err) >= 0);
	assert_int_equal(nmade, 4);
	for (unsigned i = 0; i < nmade; i++)
		assert_int_equal(made[i], ((uint32_t[]){ 5, 4, 1, 2 })[i]);
	objects_close(&r);
}

static void not_themselves(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct restore r = setup(3);

	needs[0] = 2;
	needs[1] = 3;
	needs[2] = 1;
	assert_int_equal(object_need(&r, 1, &err), -ELOOP);
	assert_int_equal(nmade, 0);
}

static void not_without_end(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct restore r = setup(MANY);

	for (unsigned i = 0; i + 1 < MANY; i++)
		needs[i] = i + 2;
	assert_int_equal(object_need(&r, 1, &err), -ELOOP);
	assert_non_null(strstr(err.message, "one after the other"));
	assert_int_equal(nmade, 0);
	/* a few are right */
	r = setup(20);
	for (unsigned i = 0; i + 1 < 20; i++)
		needs[i] = i + 2;
	assert_true(object_need(&r, 1, &err) >= 0);
	assert_int_equal(nmade, 20);
	objects_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_their_order),
		cmocka_unit_test(not_themselves),
		cmocka_unit_test(not_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
