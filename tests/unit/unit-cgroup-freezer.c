/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin cgroup-freezer, with a host of the test: its records are untrusted. */
#include "fake-host.h"

#include <string.h>

static const char *so;

static void put_text(struct fake_bytes *b, unsigned field, const char *text)
{
	fake_put(b, field, text, strlen(text));
}

static void add_group(struct fake *f, unsigned id, const char *hierarchy, const char *path,
                      const char *file, const char *value, size_t len)
{
	struct fake_bytes b = { .len = 0 }, inner = { .len = 0 };

	fake_put_number(&b, 1, id);
	put_text(&b, 2, hierarchy);
	put_text(&b, 3, path);
	fake_put_number(&b, 7, 0755);
	if (file) {
		put_text(&inner, 1, file);
		fake_put_number(&inner, 2, 0644);
		fake_put(&inner, 5, value, len);
		fake_put(&b, 10, inner.v, inner.len);
	}
	fake_add(f, "group", &b);
}

static void add_member(struct fake *f, unsigned pid, unsigned group, unsigned other)
{
	struct fake_bytes b = { .len = 0 };
	unsigned char ids[2] = { (unsigned char)group, (unsigned char)other };

	fake_put_number(&b, 1, pid);
	fake_put(&b, 3, ids, other ? 2 : 1);
	fake_add(f, "member", &b);
}

static struct fake *begin(bool ignore)
{
	struct fake *f = fake_new(so);

	if (ignore)
		fake_option(f, "manage", (struct crcore_value){ .i = 5, .s = "ignore" });
	fake_open(f);
	return f;
}

static void ends_with(struct fake *f, int want)
{
	int r = fake_load(f);

	if (r != want)
		fail_msg("%d instead of %d: %s", r, want, f->err.message);
	if (r < 0)
		assert_int_equal(f->err.code, r);
	fake_free(f);
}

static void test_good(void **state)
{
	struct fake *f = begin(true);

	add_group(f, 1, "pids", "/a", NULL, NULL, 0);
	add_group(f, 2, "pids", "/a/b", "pids.max", "77\n", 3);
	add_group(f, 3, "", "/", NULL, NULL, 0);
	add_member(f, 1, 2, 3);
	ends_with(f, 0);
}

static void test_unknown_hierarchy(void **state)
{
	struct fake *f = begin(false);

	add_group(f, 1, "no-such-controller", "/a", NULL, NULL, 0);
	ends_with(f, -ENODEV);
}

static void test_paths(void **state)
{
	static const char *const bad[] = { "", "a", "//", "/a/", "/a//b", "/..", "/a/../b", "/.", "/a/.",
		                           "/a\nb", "/a/..", "..", "/\x7f/\x01" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct fake *f = begin(true);
		add_group(f, 1, "pids", bad[i], NULL, NULL, 0);
		ends_with(f, -EBADMSG);
	}
}

static void test_files(void **state)
{
	static const struct { const char *name, *value; size_t len; } bad[] = {
		{ "release_agent", "/bin/sh\n", 8 }, { "cgroup.procs", "1", 1 }, { "../x", "", 0 },
		{ "..", "", 0 }, { ".", "", 0 }, { "", "", 0 }, { "pids.max", "7\0007", 3 },
		{ "a/pids.max", "7", 1 }, { "freezer.state", "FROZEN", 6 }, { "cgroup.kill", "1", 1 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct fake *f = begin(true);
		add_group(f, 1, "pids", "/a", bad[i].name, bad[i].value, bad[i].len);
		ends_with(f, -EBADMSG);
	}
}

static void test_numbers(void **state)
{
	struct fake *f = begin(true);

	add_group(f, 2, "pids", "/a", NULL, NULL, 0); /* ids count from 1 */
	ends_with(f, -EBADMSG);
	f = begin(true);
	add_group(f, 1, "pids", "/a", NULL, NULL, 0);
	add_member(f, 1, 2, 0); /* no such group */
	ends_with(f, -EBADMSG);
	f = begin(true);
	add_group(f, 1, "pids", "/a", NULL, NULL, 0);
	add_member(f, 0, 1, 0); /* no such task */
	ends_with(f, -EBADMSG);
	f = begin(true);
	add_group(f, 1, "pids", "/a", NULL, NULL, 0);
	add_group(f, 2, "pids", "/b", NULL, NULL, 0);
	add_member(f, 1, 1, 2); /* in two groups of one hierarchy */
	ends_with(f, -EBADMSG);
	f = begin(true);
	fake_add(f, "group", &(struct fake_bytes){ { 0xff, 0xff, 0xff }, 3 });
	ends_with(f, -EBADMSG);
}

static void test_roots(void **state)
{
	static const char *const bad[] = { "web", "pids:web", "/a/..", "pids:/a//b", "/web/" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const char *const list[] = { bad[i], NULL };
		struct fake *f = fake_new(so);
		fake_option(f, "root", (struct crcore_value){ .list = list });
		fake_open(f);
		ends_with(f, -EINVAL);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_unknown_hierarchy),
		cmocka_unit_test(test_paths), cmocka_unit_test(test_files),
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_roots),
	};

	so = argc > 1 ? argv[1] : "";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
