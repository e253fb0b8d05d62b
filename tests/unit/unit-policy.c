/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy: what loads, what is refused with which position and advice, how
 * flags lie over files, what values come out, and that a printed policy is the
 * same policy.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "core/policy/core_options.h"
#include "core/policy/policy.h"
#include "core/util/util.h"

static const char example[] =
	"version: 1\n"
	"name: web-worker\n"
	"plugins:\n"
	"  files:   { ghost-limit: 64MiB, changed-file: refuse }\n"
	"  sockets: { external-unix: { \"/run/systemd/*\": reconnect } }\n"
	"  tcp:     { established: keep }\n"
	"  tmpfiles: { include: [ /var/cache/app/*.tmp ] }\n"
	"  /opt/acme/libacme-fpga.so: { slot: 2 }\n"
	"order:\n"
	"  restore: [ { tcp: { after: [ acme-fpga ] } } ]\n";

static struct policy *loaded(const char *text)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct policy *p = policy_new();

	assert_non_null(p);
	if (policy_load_bytes(p, "t.yaml", text, strlen(text), &err) < 0)
		fail_msg("%s: %s", err.object, err.message);
	return p;
}

/* Loading text fails at object, with a message and advice that hold these words. */
static void refused(const char *text, const char *object, const char *message, const char *advice)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct policy *p = policy_new();

	assert_true(policy_load_bytes(p, "t.yaml", text, strlen(text), &err) < 0);
	assert_true(err.code < 0);
	assert_string_equal(err.object, object);
	if (!strstr(err.message, message))
		fail_msg("'%s' is not in '%s'", message, err.message);
	if (advice && !strstr(err.advice, advice))
		fail_msg("'%s' is not in '%s'", advice, err.advice);
	assert_null(policy_plugin(p, 0)); /* nothing of it is taken */
	policy_free(p);
}

static int count_order(void *arg, const char *stage, const char *plugin, bool before,
                       const char *other, const struct node *where)
{
	assert_string_equal(stage, "restore");
	assert_string_equal(plugin, "tcp");
	assert_false(before);
	assert_string_equal(other, "acme-fpga");
	assert_int_equal(where->line, 10);
	++*(int *)arg;
	return 0;
}

static const char *const changed_choices[] = { "refuse", "keep", "append-ok", NULL };
static const struct crcore_option files_options[] = {
	{ "ghost-limit", CRCORE_SIZE, "1MiB", NULL, 0, 1LL << 40, "largest file to embed" },
	{ "changed-file", CRCORE_CHOICE, "refuse", changed_choices, 0, 0, "a file that changed" },
	{ "map", CRCORE_MAP, "{ /a: keep }", NULL, 0, 0, "pairs" },
	{ "list", CRCORE_LIST, NULL, NULL, 0, 0, "strings" },
	{ "wait", CRCORE_SECONDS, "250ms", NULL, 1000000, 60000000000, "time" },
	{ "depth", CRCORE_INT, "3", NULL, -5, 5, "number" },
	{ "deep", CRCORE_BOOL, NULL, NULL, 0, 0, "flag" },
	{ "word", CRCORE_STRING, "x", NULL, 0, 0, "text" },
	{ NULL },
};
enum { GHOST, CHANGED, MAP, LIST, WAIT, DEPTH, DEEP, WORD, NVALUES };

static void test_example(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct policy *p = loaded(example);
	int n = 0;

	assert_string_equal(policy_plugin(p, 0), "files");
	assert_string_equal(policy_plugin(p, 1), "sockets");
	assert_string_equal(policy_plugin(p, 4), "/opt/acme/libacme-fpga.so");
	assert_null(policy_plugin(p, 5));
	assert_non_null(policy_plugin_node(p, "acme-fpga"));
	assert_null(policy_plugin_node(p, "fpga"));
	assert_int_equal(policy_order(p, count_order, &n), 0);
	assert_int_equal(n, 1);

	struct crcore_value v[NVALUES];
	assert_int_equal(policy_options(p, "files", files_options, v, &err), 0);
	assert_int_equal(v[GHOST].i, 64 << 20);
	assert_int_equal(v[CHANGED].i, 0);
	assert_string_equal(v[CHANGED].s, "refuse");
	assert_string_equal(v[MAP].list[0], "/a");
	assert_string_equal(v[MAP].list[1], "keep");
	assert_null(v[MAP].list[2]);
	assert_null(v[LIST].list[0]);
	assert_int_equal(v[WAIT].i, 250000000);
	assert_int_equal(v[DEPTH].i, 3);
	assert_false(v[DEEP].b);
	assert_string_equal(v[WORD].s, "x");
	policy_free(p);
}

static void test_core_options(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct policy *p = loaded("version: 1\ndump: { leave: stopped, timeout: 2m }\nrestore:\n");

	assert_int_equal(policy_core(p, "dump.leave")->i, 2);
	assert_int_equal(policy_core(p, "dump.timeout")->i, 120000000000);
	assert_true(policy_core(p, "restore.verify")->b);
	assert_int_equal(policy_core(p, "restore.pid-wait")->i, 5000000000);
	assert_null(policy_core(p, "dump.nothing"));
	assert_int_equal(policy_set(p, NULL, "dump.leave", "running", false, "-R", &err), 0);
	assert_int_equal(policy_core(p, "dump.leave")->i, 1);
	assert_int_equal(policy_set(p, NULL, "dump.leave", "runing", false, "-R", &err), -EINVAL);
	assert_string_equal(err.object, "-R");
	assert_non_null(strstr(err.advice, "'running'"));
	assert_int_equal(policy_core(p, "dump.leave")->i, 1);
	policy_free(p);
}

static void test_syntax_refused(void **state)
{
	refused("", "t.yaml", "is empty", "version: 1");
	refused("version: 1\nplugins:\n\tfiles: {}\n", "t.yaml:3:1", "not YAML", "spaces");
	refused("# only a comment\n", "t.yaml", "is empty", NULL);
	refused("version: 1\nplugins: { files: [ }\n", "t.yaml:2:21", "not YAML", NULL);
	refused("version: 1\n\xff\xfe\n", "t.yaml:2:1", "not YAML", NULL);
	refused("version: 1\nplugins: &a { files: {} }\n", "t.yaml:2:10", "anchors", "write the value");
	refused("version: 1\nname: *a\n", "t.yaml:2:7", "aliases", NULL);
	refused("version: 1\nname: !!str x\n", "t.yaml:2:7", "tags", NULL);
	refused("version: 1\n---\nversion: 1\n", "t.yaml:2:1", "one document", NULL);
	refused("version: 1\n? [ a ]\n: b\n", "t.yaml:2:3", "a key must be a word", NULL);
	refused("version: 1\nname: \"a\\0b\"\n", "t.yaml:2:7", "NUL", NULL);
	refused("version: 1\nname: a\nname: b\n", "t.yaml:3:1", "duplicate key 'name'", NULL);
	refused("version: 1\nplugins:\n  files: { a: 1, a: 2 }\n", "t.yaml:3:18", "duplicate key 'a'",
	        NULL);
}

static void test_shape_refused(void **state)
{
	refused("name: x\n", "t.yaml:1:1", "'version' is missing", "version: 1");
	refused("version: 2\n", "t.yaml:1:1", "unknown version '2'", "version: 1");
	refused("version: [ 1 ]\n", "t.yaml:1:1", "'version' must be a value", NULL);
	refused("- version: 1\n", "t.yaml:1:1", "a policy must be a map, not a list", NULL);
	refused("version: 1\nplugin: {}\n", "t.yaml:2:1", "unknown key 'plugin'", "'plugins'");
	refused("version: 1\nhello: {}\n", "t.yaml:2:1", "unknown key 'hello'", "version, name");
	refused("version: 1\nplugins: [ files ]\n", "t.yaml:2:1", "'plugins' must be a map", "{}");
	refused("version: 1\nplugins: { files: yes }\n", "t.yaml:2:12", "must be a map", NULL);
	refused("version: 1\nplugins: { Files: {} }\n", "t.yaml:2:12", "not the name of a plugin", NULL);
	refused("version: 1\nplugins: { ../x.so: {} }\n", "t.yaml:2:12", "relative path", "whole path");
	refused("version: 1\ndump: { leaves: kill }\n", "t.yaml:2:9", "unknown key 'leaves'", "'leave'");
	refused("version: 1\ndump: { leave: kil }\n", "t.yaml:2:9", "'kil' is no value", "'kill'");
	refused("version: 1\ndump: { leave: [ kill ] }\n", "t.yaml:2:9", "must be one value", NULL);
	refused("version: 1\ndump: { timeout: 0s }\n", "t.yaml:2:9", "out of range", "between 1ms and");
	refused("version: 1\nrestore: { timeout: soon }\n", "t.yaml:2:12", "no value", "10s");
	refused("version: 1\nrestore: { verify: maybe }\n", "t.yaml:2:12", "no value", "yes or no");
	refused("version: 1\ndump: { time-limit: 1s }\n", "t.yaml:2:9", "unknown key", NULL);
	refused("version: 1\norder: { dump: [ a ] }\n", "t.yaml:2:18", "must be a map", NULL);
	refused("version: 1\norder: { dump: { a: { befor: [ b ] } } }\n", "t.yaml:2:23", "unknown key",
	        "before");
	refused("version: 1\norder: { dump: { a: { before: [ [ b ] ] } } }\n", "t.yaml:2:33",
	        "must be a value", NULL);
}

static void test_bounds(void **state)
{
	static char text[2 << 20];
	char *at = stpcpy(text, "version: 1\nname: ");

	memset(at, '[', 100000);
	refused(text, "t.yaml:2:22", "nested too deeply", NULL);
	memset(at, 'x', sizeof(text) - 1 - (size_t)(at - text));
	refused(text, "t.yaml", "larger than 256 KiB", NULL);

	at = stpcpy(text, "version: 1\nplugins:\n");
	for (int i = 0; i < 2001; i++)
		at += sprintf(at, "  p%d: {}\n", i);
	refused(text, "t.yaml:2003:3", "too many keys", NULL);

	at = stpcpy(text, "version: 1\nplugins: { files: { list: [ ");
	for (int i = 0; i < 21000; i++)
		at = stpcpy(at, "x,");
	strcpy(at, " ] } }\n");
	refused(text, "t.yaml:2:40019", "too many values", NULL);

	at = stpcpy(text, "version: 1\nplugins: { files: { ? ");
	memset(at, 'k', 300);
	strcpy(at + 300, "\n : x } }\n");
	refused(text, "t.yaml:2:23", "1 to 255 bytes", NULL);
}

static void test_plugin_options_refused(void **state)
{
	static const struct { const char *text, *object, *message, *advice; } cases[] = {
		{ "ghost-limt: 1", "t.yaml:2:21", "unknown key 'ghost-limt'", "'ghost-limit'" },
		{ "zzz: 1", "t.yaml:2:21", "no such option of files", "ghost-limit, changed-file" },
		{ "ghost-limit: 64MiBs", "t.yaml:2:21", "'64MiBs' is no value", "64MiB" },
		{ "ghost-limit: -1", "t.yaml:2:21", "out of range", "between 0" },
		{ "ghost-limit: 2TiB", "t.yaml:2:21", "out of range", "1TiB" },
		{ "ghost-limit: 99999999999999999999", "t.yaml:2:21", "out of range", NULL },
		{ "ghost-limit: { a: b }", "t.yaml:2:21", "must be one value", NULL },
		{ "depth: 6", "t.yaml:2:21", "out of range", "between -5 and 5" },
		{ "depth: 1.5", "t.yaml:2:21", "no value", "whole number" },
		{ "wait: 2h", "t.yaml:2:21", "out of range", "between 1ms and 1" },
		{ "list: x", "t.yaml:2:21", "must be a list", "[ one, two ]" },
		{ "list: [ { a: b } ]", "t.yaml:2:29", "plain values", NULL },
		{ "map: [ x ]", "t.yaml:2:21", "must be a map", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct crcore_value v[NVALUES];
		char text[200];
		snprintf(text, sizeof(text), "version: 1\nplugins: { files: { %s } }\n", cases[i].text);
		struct policy *p = loaded(text);
		assert_true(policy_options(p, "files", files_options, v, &err) < 0);
		assert_string_equal(err.object, cases[i].object);
		if (!strstr(err.message, cases[i].message))
			fail_msg("'%s' is not in '%s'", cases[i].message, err.message);
		if (cases[i].advice && !strstr(err.advice, cases[i].advice))
			fail_msg("'%s' is not in '%s'", cases[i].advice, err.advice);
		policy_free(p);
	}
}

static void test_units(void **state)
{
	static const struct { int option; const char *text; int64_t value; } cases[] = {
		{ GHOST, "0", 0 }, { GHOST, "4096", 4096 }, { GHOST, "3K", 3072 }, { GHOST, "3kB", 3000 },
		{ GHOST, "1GiB", 1 << 30 }, { GHOST, "1TiB", 1LL << 40 }, { WAIT, "10s", 10000000000 },
		{ WAIT, "10", 10000000000 }, { WAIT, "5000us", 5000000 }, { WAIT, "1m", 60000000000 },
		{ DEPTH, "-5", -5 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct crcore_value v;
		struct node n = { .type = NODE_SCALAR, .text = (char *)cases[i].text, .origin = "t" };
		if (policy_parse_value(&files_options[cases[i].option], &n, &v, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.message);
		assert_int_equal(v.i, cases[i].value);
	}
}

static void test_merge(void **state)
{
	static const char over[] = "version: 1\nplugins: { files: { list: [ c ] }, extra: }\n"
	                           "order: { dump: { files: { before: extra } } }\n";
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct crcore_value v[NVALUES];
	struct policy *p = loaded("version: 1\nname: base\n"
	                          "plugins: { files: { list: [ a, b ], depth: 1 } }\n");

	assert_int_equal(policy_load_bytes(p, "over.yaml", over, strlen(over), &err), 0);
	assert_int_equal(policy_options(p, "files", files_options, v, &err), 0);
	assert_string_equal(v[LIST].list[0], "c");
	assert_null(v[LIST].list[1]);
	assert_int_equal(v[DEPTH].i, 1);
	assert_string_equal(policy_plugin(p, 1), "extra");
	policy_free(p);
}

static void test_flags(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct crcore_value v[NVALUES];
	struct policy *p = loaded("version: 1\nplugins: { files: { list: [ a ], map: { k: v } } }\n");

	assert_int_equal(policy_set(p, "files", "ghost-limit", "2M", false, "--limit", &err), 0);
	assert_int_equal(policy_set(p, "files", "list", "b", true, "--add", &err), 0);
	assert_int_equal(policy_set(p, "files", "map", "k2=v2", true, "--pair", &err), 0);
	assert_int_equal(policy_options(p, "files", files_options, v, &err), 0);
	assert_int_equal(v[GHOST].i, 2 << 20);
	assert_string_equal(v[LIST].list[0], "a");
	assert_string_equal(v[LIST].list[1], "b");
	assert_string_equal(v[MAP].list[2], "k2");
	assert_string_equal(v[MAP].list[3], "v2");

	assert_int_equal(policy_set(p, "files", "map", "novalue", true, "--pair", &err), -EINVAL);
	assert_string_equal(err.object, "--pair");
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	assert_int_equal(policy_set(p, "fles", "a", "b", false, "--x", &err), -ENOENT);
	assert_non_null(strstr(err.advice, "did you mean 'files'"));
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	assert_int_equal(policy_set(p, "net", "a", "b", false, "--x", &err), -ENOENT);
	assert_non_null(strstr(err.advice, "--plugins=+net"));
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	assert_int_equal(policy_set(p, "files", "word", "\xff", false, "--x", &err), -EINVAL);
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	assert_int_equal(policy_set(p, "files", "word", "a\nb", false, "--x", &err), -EINVAL);
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	assert_int_equal(policy_set(p, NULL, "dump.leav", "x", false, "--set", &err), -EINVAL);
	assert_non_null(strstr(err.advice, "dump.leave"));

	/* The position of a bad value is the flag. */
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	assert_int_equal(policy_set(p, "files", "ghost-limit", "big", false, "--limit", &err), 0);
	assert_int_equal(policy_options(p, "files", files_options, v, &err), -EINVAL);
	assert_string_equal(err.object, "--limit");
	policy_free(p);
}

static void test_flag_alone_is_a_list(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct crcore_value v[NVALUES];
	struct policy *p = loaded("version: 1\nplugins: { files: }\n");

	assert_int_equal(policy_set(p, "files", "list", "one", false, "--set", &err), 0);
	assert_int_equal(policy_set(p, "files", "map", "k=w", true, "--set", &err), 0);
	assert_int_equal(policy_set(p, "files", "map", "k=v", true, "--set", &err), 0);
	assert_int_equal(policy_options(p, "files", files_options, v, &err), 0);
	assert_string_equal(v[LIST].list[0], "one");
	assert_string_equal(v[MAP].list[0], "k");
	assert_string_equal(v[MAP].list[1], "v");
	assert_null(v[MAP].list[2]);
	policy_free(p);
}

static void plugins_are(struct policy *p, const char *list, const char *want)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	char got[200] = "";
	const char *name;

	if (policy_set_plugins(p, list, &err) < 0)
		fail_msg("%s: %s", list, err.message);
	for (unsigned i = 0; (name = policy_plugin(p, i)); i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i ? "," : "", name);
	assert_string_equal(got, want);
}

static void test_set_plugins(void **state)
{
	struct policy *p = loaded("version: 1\nplugins: { a: { x: 1 }, b: , c: }\n");
	static const char *const bad[] = { "a,,b", "-zz", "a,a", "+a,b", "a,+b", "A", "+", "/no/such.so" };

	plugins_are(p, "+d", "a,b,c,d");
	plugins_are(p, "+d,-b", "a,c,d");
	plugins_are(p, "c,a,e", "c,a,e");
	assert_non_null(policy_plugin_node(p, "a")->child); /* keeps its options */
	plugins_are(p, "/dev/null", "/dev/null");
	plugins_are(p, "", "");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct policy *q = loaded("version: 1\nplugins: { a: , b: }\n");
		if (policy_set_plugins(q, bad[i], &err) >= 0)
			fail_msg("'%s' was accepted", bad[i]);
		assert_string_equal(err.object, "--plugins");
		policy_free(q);
	}
	policy_free(p);
}

static void test_text_is_the_same_policy(void **state)
{
	static const char odd[] =
		"version: 1\n"
		"name: \"tab\\t quote\\\" back\\\\ \\u00e9 \\u0085 \\u2028 \\ufeff ~ # : \\U0001F600\"\n"
		"plugins: { files: { list: [ '', '~', 'null', 'a: b', '- x', '*', '&', '#' ], "
		"'k: #': '{' }, empty: {} }\n"
		"order: { dump: [ { files: { before: [ empty ] } } ], load: { files: { after: '?x' } } }\n";
	struct crcore_error err = CRCORE_ERROR_INIT;
	size_t len1, len2;
	struct policy *p = loaded(odd);
	cleanup_free char *one = policy_text(p, &len1);
	struct policy *q = loaded(one);
	cleanup_free char *two = policy_text(q, &len2);

	assert_string_equal(one, two);
	assert_null(strstr(one, "timeout")); /* no defaults */
	const struct node *list = policy_plugin_node(q, "files")->child;
	const char *const want[] = { "", "~", "null", "a: b", "- x", "*", "&", "#" };
	const struct node *n = list->child;
	for (size_t i = 0; i < ARRAY_SIZE(want); i++, n = n->next)
		assert_string_equal(n->text, want[i]);
	assert_string_equal(list->next->key, "k: #");
	assert_int_equal(err.code, 0);
	policy_free(p);
	policy_free(q);
}

static void test_print_says_where_from(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct crcore_value v[NVALUES];
	cleanup_free char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	struct policy *p = loaded(example);

	assert_int_equal(policy_set(p, "files", "wait", "1s", false, "--wait", &err), 0);
	assert_int_equal(policy_options(p, "files", files_options, v, &err), 0);
	assert_int_equal(policy_print(p, f, false), 0);
	fclose(f);
	assert_non_null(strstr(text, "name: web-worker                            # t.yaml:2\n"));
	assert_non_null(strstr(text, "    wait: 1s                                # --wait\n"));
	assert_non_null(strstr(text, "    depth: 3                                # built in\n"));
	assert_non_null(strstr(text, "  leave: kill                               # built in\n"));
	struct policy *q = loaded(text); /* the comments do no harm */
	policy_free(q);
	policy_free(p);
}

static void test_print_json(void **state)
{
	cleanup_free char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	struct policy *p = loaded(example);

	assert_int_equal(policy_print(p, f, true), 0);
	fclose(f);
	assert_non_null(strstr(text, "\"value\": \"64MiB\""));
	assert_non_null(strstr(text, "\"line\": 4"));
	policy_free(p);
}

static void test_find(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	char path[512];

	assert_int_equal(policy_find("./x.yaml", path, sizeof(path), &err), 0);
	assert_string_equal(path, "./x.yaml");
	assert_int_equal(policy_find("default", path, sizeof(path), &err), 0);
	assert_non_null(strstr(path, "/configs/default.yaml")); /* this test is of the build tree */
	assert_int_equal(policy_find("no-such", path, sizeof(path), &err), -ENOENT);
	assert_non_null(strstr(err.message, "no policy 'no-such' in "));
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	struct policy *p = policy_new();
	assert_int_equal(policy_load(p, "/nowhere/x.yaml", &err), -ENOENT);
	assert_string_equal(err.object, "/nowhere/x.yaml");
	policy_free(p);
}

/* Every policy that is shipped loads. */
static void test_shipped(void **state)
{
	static const char *const names[] = { "default", "batch-pipeline", "python-service", "build" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct policy *p = policy_new();
		char path[512];
		assert_int_equal(policy_find(names[i], path, sizeof(path), &err), 0);
		if (policy_load(p, path, &err) < 0)
			fail_msg("%s: %s", err.object, err.message);
		assert_non_null(policy_plugin_node(p, "files"));
		policy_free(p);
	}
}

/* docs/policy.md names every option of the core with its default. */
static void test_documented(void **state)
{
	cleanup_file FILE *f = fopen(CRCORE_SOURCE_ROOT "/docs/policy.md", "re");
	static char text[1 << 17];

	assert_non_null(f);
	assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
	for (const struct crcore_option *o = core_options; o->name; o++) {
		char row[120];
		snprintf(row, sizeof(row), "| `%s` | ", o->name);
		const char *at = strstr(text, row);
		if (!at)
			fail_msg("docs/policy.md has no row %s", row);
		snprintf(row, sizeof(row), "| `%s` |", o->default_value);
		const char *end = strchr(at, '\n'), *value = strstr(at, row);
		if (!value || value > end)
			fail_msg("docs/policy.md: %s does not have the default %s", o->name, row);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_core_options),
		cmocka_unit_test(test_syntax_refused),
		cmocka_unit_test(test_shape_refused),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_plugin_options_refused),
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_flag_alone_is_a_list),
		cmocka_unit_test(test_set_plugins),
		cmocka_unit_test(test_text_is_the_same_policy),
		cmocka_unit_test(test_print_says_where_from),
		cmocka_unit_test(test_print_json),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_shipped),
		cmocka_unit_test(test_documented),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
