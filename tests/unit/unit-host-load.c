/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin host and real shared objects (tests/abi/misbehave.c, tests/abi/first-abi.so), for
 * what only they can get wrong. */
#include "made-up.h"
#include <sys/sysmacros.h>

static int load(const char *plugin, const char *how, struct crcore_error *err)
{
	struct host *h = NULL;

	*err = (struct crcore_error)CRCORE_ERROR_INIT;
	policy_names[0] = plugin;
	setenv("MISBEHAVE", how, 1);
	int rc = host_load(NULL, &h, err);
	unsetenv("MISBEHAVE");
	assert_int_equal(rc < 0, h == NULL);
	if (h)
		h->keep_loaded = false; /* its constructor shall run again the next time */
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

static void plugins_of_tests(void)
{
	char dir[] = MISBEHAVE_SO;

	*strrchr(dir, '/') = 0;
	setenv("CRCORE_PLUGIN_PATH", dir, 1);
}

static void load_by_name(void **state)
{
	struct crcore_error err;

	plugins_of_tests();
	assert_int_equal(load("misbehave", "", &err), 0);
	assert_int_equal(load("misbehave", "other-name", &err), -EINVAL);
	contains(err.message, "is named \"somebody-else\"");
	unsetenv("CRCORE_PLUGIN_PATH");
}

static struct host *loaded(bool lazily)
{
	struct host *h = NULL;

	assert_int_equal((lazily ? host_load_lazily : host_load)(NULL, &h, NULL), 0);
	h->keep_loaded = false; /* constructors shall run again the next time */
	return h;
}

/* Offers something of a file type, which nobody takes. */
static int offer(struct host *h, mode_t type, const char *link, struct crcore_error *err)
{
	struct crcore_object obj = { .size = sizeof(obj), .link = link, .fd = 3,
		                     .st.st_mode = type | 0600 };
	struct crcore_ctx *winner = NULL;

	return host_claim(h, &obj, &winner, err);
}

/* The same of a device of this major number. */
static int offer_device(struct host *h, mode_t type, unsigned number)
{
	struct crcore_object obj = { .size = sizeof(obj), .link = "/dev/x", .fd = 3,
		                     .st = { .st_mode = type | 0600, .st_rdev = makedev(number, 3) } };
	struct crcore_ctx *winner = NULL;

	return host_claim(h, &obj, &winner, NULL);
}

static void load_for_devices(void **state)
{
	struct host *h;

	plugins_of_tests();
	policy_names[0] = "waiting";
	policy_names[1] = "misbehave";
	policy_sets_nothing = true;
	h = loaded(true);
	for (unsigned number = 0; number < 9; number++) { /* of a type that does not concern it */
		assert_int_equal(offer_device(h, S_IFBLK, number), -ENOTSUP);
		assert_int_equal(host_load_for(h, S_IFBLK, makedev(number, 0), NULL), 0);
	}
	assert_int_equal(offer_device(h, S_IFCHR, 1), -ENOTSUP);
	assert_int_equal(offer_device(h, S_IFCHR, 7), -ENOTSUP);
	assert_int_equal(host_load_for(h, S_IFCHR, makedev(1, 4), NULL), 0);
	assert_null(host_find(h, "waiting"));
	assert_int_equal(offer_device(h, S_IFCHR, 4), -ENOTSUP);
	assert_non_null(host_find(h, "waiting"));
	host_free(h);
	h = loaded(true);
	assert_int_equal(host_load_for(h, S_IFCHR, makedev(136, 1), NULL), 0);
	assert_non_null(host_find(h, "waiting"));
	host_free(h);
	h = loaded(true);
	assert_int_equal(offer_device(h, S_IFCHR, 0), -ENOTSUP); /* 0 ends the list, and is no entry */
	assert_non_null(host_find(h, "waiting"));
	host_free(h);
	unsetenv("CRCORE_PLUGIN_PATH");
}

static void load_later(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct host *h;

	plugins_of_tests();
	policy_names[0] = "waiting";
	policy_names[1] = "misbehave";
	h = loaded(true); /* something is set for it */
	assert_non_null(host_find(h, "waiting"));
	host_free(h);
	policy_sets_nothing = true;
	h = loaded(false);
	assert_non_null(host_find(h, "waiting"));
	host_free(h);
	h = loaded(true);
	assert_int_equal(offer(h, S_IFREG, "/waits", NULL), -ENOTSUP);
	assert_null(host_find(h, "waiting"));
	assert_int_equal(offer(h, S_IFSOCK, "", NULL), -ENOTSUP);
	assert_non_null(host_find(h, "waiting"));
	assert_true(host_find(h, "waiting")->opened);
	assert_ptr_equal(h->plugins[0], host_find(h, "waiting")); /* as the policy has it */
	for (enum stage s = STAGE_OPEN; s < NSTAGES; s++)
		assert_ptr_equal(h->order[s][0], h->plugins[0]);
	host_free(h);
	h = loaded(true);
	assert_int_equal(offer(h, S_IFREG, "/waits/1", NULL), -ENOTSUP);
	assert_non_null(host_find(h, "waiting"));
	host_free(h);
	h = loaded(true);
	assert_int_equal(host_load_rest(h, NULL), 0);
	assert_non_null(host_find(h, "waiting"));
	host_free(h);
	policy_names[0] = "hasty";
	h = loaded(true);
	assert_int_equal(offer(h, S_IFSOCK, "", &err), -EINVAL);
	contains(err.message, "has hooks that come before");
	assert_string_equal(err.plugin, "hasty");
	assert_int_equal(h->nplugins, 1);
	host_free(h);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(load_good), T(load_by_name), T(load_later), T(load_for_devices), T(load_what_is_no_plugin), T(load_twice),
		T(load_untrusted), T(load_first_abi), T(print_all),
		T(load_bad), T(hang_in_open_and_close), /* last: one that hung stays mapped */
	};
	log_level = 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
