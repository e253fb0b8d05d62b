/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: what is refused and with which advice, what the fields and
 * the policy are afterwards, that help and manual know every flag, and how an
 * error is written. The commands themselves are stand-ins.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/stat.h>
#include "core/cli/flags.h"
#include "core/util/text.h"
#include "core/util/util.h"
#include "tests/lib/sample-image.h"

#define STAND_IN(name) \
	int name(struct command *c, struct crcore_error *err) { return 0; }
STAND_IN(command_dump)
STAND_IN(command_check)
STAND_IN(command_restore)
STAND_IN(command_show)
STAND_IN(command_merge)
STAND_IN(command_exec)
STAND_IN(command_plugins)
STAND_IN(command_policy)

static char dir[] = "/tmp/unit-args-XXXXXX";
static char policy_file[64], image_dir[64];

#define ARGS_MAX 32

/* Splits words at blanks; '%' stands for the policy file, '@' for the image. */
static int parse(struct args *a, const char *words, struct crcore_error *err)
{
	static char buf[1024];
	static char *argv[ARGS_MAX + 1];
	char *next = buf, *w;
	int argc = 0;

	snprintf(buf, sizeof(buf), "crcore %s", words);
	while ((w = strsep(&next, " ")) && argc < ARGS_MAX)
		argv[argc++] = !strcmp(w, "%") ? policy_file : !strcmp(w, "@") ? image_dir : w;
	argv[argc] = NULL;
	return args_parse(a, argc, argv, err);
}

static void test_usage(void **state)
{
	static const struct { const char *words, *text; } cases[] = {
		{ "", "no command; see 'crcore help'" },
		{ "dmp", "there is no command 'dmp'; did you mean 'dump'?" },
		{ "-t 3 dump", "a command comes before the flags" },
		{ "help dmp", "did you mean 'dump'?" },
		{ "dump", "'crcore dump' needs -t PID" },
		{ "dump -t 5 x", "'crcore dump' takes no 'x'" },
		{ "dump 5", "named with -t: crcore dump -t 5" },
		{ "restore images", "named with -D: crcore restore -D images" },
		{ "dump -t", "-t needs a value: PID" },
		{ "dump -t 5x", "-t: '5x' is not a pid" },
		{ "dump -t -5", "-t: '-5' is not a pid" },
		{ "dump -t 99999999999", "is not a pid" },
		{ "dump --tree=0", "--tree: '0' is not a pid" },
		{ "dump -t 5 -Q", "there is no flag -Q" },
		{ "dump -t 5 -RQ", "there is no flag -Q" },
		{ "dump -t 5 --leave-runing", "did you mean --leave-running?" },
		{ "dump -t 5 --json=3", "--json=3 takes no value" },
		{ "dump -t 5 --pidfile x", "--pidfile does nothing for 'crcore dump'; it is a flag of: restore" },
		{ "dump -t 5 -S", "-S does nothing for 'crcore dump'" },
		{ "restore -t 5", "-t does nothing for 'crcore restore'" },
		{ "restore -R", "-R does nothing for 'crcore restore'" },
		{ "show --policy x", "--policy does nothing for 'crcore show'" },
		{ "show -v7x", "-v: '7x' is not a level" },
		{ "dump -t 5 --stream -D /x", "not to both" },
		{ "dump -t 5 --stream --json", "--json would write to standard output" },
		{ "dump -t 5 --stream --prev-images-dir x", "not made on another" },
		{ "restore --stream", "name a folder with -D" },
		{ "restore -D /x --keep-images", "about what --stream receives" },
		{ "show --stream", "--stream does nothing for 'crcore show'" },
		{ "exec -t 5", "needs SYSCALL [ARG...]" },
		{ "exec getpid -t 5", "needs -t PID" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct args a;
		char text[ERROR_TEXT_MAX];
		if (parse(&a, cases[i].words, &err) >= 0)
			fail_msg("'crcore %s' was accepted", cases[i].words);
		error_text(&err, text);
		if (!strstr(text, cases[i].text))
			fail_msg("crcore %s: '%s' is not in '%s'", cases[i].words, cases[i].text, text);
		args_free(&a);
	}
}

static void test_fields(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct args a;

	assert_int_equal(parse(&a, "dump -t 42 -D /srv/i -o log -v4 --json", &err), 0);
	assert_string_equal(a.command.verb, "dump");
	assert_int_equal(a.command.pid, 42);
	assert_string_equal(a.command.images_dir, "/srv/i");
	assert_string_equal(a.command.log_file, "log");
	assert_int_equal(a.command.verbosity, 3);
	assert_true(a.command.json);
	args_free(&a);
	assert_int_equal(parse(&a, "restore --plan --pidfile p -vv", &err), 0);
	assert_string_equal(a.command.images_dir, ".");
	assert_string_equal(a.command.pidfile, "p");
	assert_true(a.command.plan);
	assert_int_equal(a.command.verbosity, 3);
	args_free(&a);
	assert_int_equal(parse(&a, "exec -t 42 kill -1 -9", &err), 0);
	assert_int_equal(a.command.nargs, 3);
	assert_string_equal(a.command.args[2], "-9");
	args_free(&a);
	assert_int_equal(parse(&a, "merge -D new old -v4", &err), 0); /* flags may come last */
	assert_int_equal(a.command.nargs, 1);
	assert_string_equal(a.command.args[0], "old");
	args_free(&a);
	assert_int_equal(parse(&a, "dump --help", &err), 0);
	assert_true(a.help);
	args_free(&a);
}

static void option_is(struct args *a, const char *plugin, const char *option, const char *text)
{
	const struct node *n = policy_plugin_node(a->command.policy, plugin)->child;

	while (n && strcmp(n->key, option))
		n = n->next;
	assert_non_null(n);
	for (n = n->type == NODE_LIST ? n->child : n; n->next && !n->key; n = n->next)
		;
	assert_string_equal(n->text, text);
}

static void parsed(struct args *a, const char *words)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	char text[ERROR_TEXT_MAX];
	int r = parse(a, words, &err);

	if (r >= 0)
		r = args_policy(a, &err);
	error_text(&err, text);
	if (r < 0)
		fail_msg("crcore %s: %s", words, text);
}

static void test_options(void **state)
{
	struct args a;

	/* Flags before the policy they lie over, letters together. */
	parsed(&a, "dump -Rj --ghost-limit 3M --tcp-close -t 5 --policy % --set dump.timeout=20s "
	       "--ext-unix-sk --set files.x=z --manage-cgroups --tmp-file a --tmp-file b");
	assert_int_equal(policy_core(a.command.policy, "dump.leave")->i, 1);
	assert_true(policy_core(a.command.policy, "dump.shell-job")->b);
	assert_int_equal(policy_core(a.command.policy, "dump.timeout")->i, 20000000000);
	option_is(&a, "files", "ghost-limit", "3M");
	option_is(&a, "tcp", "established", "close");
	option_is(&a, "sockets", "external-unix", "*=reconnect");
	option_is(&a, "cgroup-freezer", "manage", "soft");
	option_is(&a, "tmpfiles", "include", "b");
	args_free(&a);
	parsed(&a, "dump -t 5 --policy % --plugins +acme,-tcp --manage-cgroups=full");
	assert_non_null(policy_plugin_node(a.command.policy, "acme"));
	assert_null(policy_plugin_node(a.command.policy, "tcp"));
	option_is(&a, "cgroup-freezer", "manage", "full");
	args_free(&a);
}

static void test_restore_begins_with_the_image(void **state)
{
	struct args a;

	parsed(&a, "restore -D @ -d -S -s");
	assert_string_equal(policy_plugin(a.command.policy, 0), "sample");
	assert_true(policy_core(a.command.policy, "restore.detached")->b);
	assert_true(policy_core(a.command.policy, "restore.sibling")->b);
	assert_true(policy_core(a.command.policy, "restore.stopped")->b);
	args_free(&a);
	parsed(&a, "restore -D @ --policy %"); /* lies over it */
	assert_non_null(policy_plugin_node(a.command.policy, "sample"));
	assert_non_null(policy_plugin_node(a.command.policy, "files"));
	args_free(&a);
	parsed(&a, "policy -D @");
	assert_string_equal(policy_plugin(a.command.policy, 0), "sample");
	args_free(&a);
}

static void test_options_refused(void **state)
{
	static const struct { const char *words, *text; } cases[] = {
		{ "dump -t 5 --plugins files --tcp-established", "--tcp-established: needs the plugin 'tcp'" },
		{ "dump -t 5 --policy % --plugins a,+b", "--plugins: mixes" },
		{ "dump -t 5 --policy no-such-policy", "there is no policy 'no-such-policy'" },
		{ "dump -t 5 --policy % --set x", "--set: 'x' is not KEY=VALUE" },
		{ "dump -t 5 --policy % --set x=1", "--set: 'x=1' is not KEY=VALUE" },
		{ "dump -t 5 --policy % --set dump.leav=kill", "--set: there is no option 'dump.leav'; did" },
		{ "dump -t 5 --policy % --set dump.timeout=x", "--set: 'x' is no value for 'dump.timeout'" },
		{ "dump -t 5 --policy % --set dump.timeout+=3s", "'dump.timeout' has one value" },
		{ "dump -t 5 --policy % --set fles.x=1", "--set: needs the plugin 'fles', which the policy "
		  "does not name; did you mean 'files'?" },
		{ "restore -D /nowhere", "/nowhere" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct args a;
		char text[ERROR_TEXT_MAX];
		assert_int_equal(parse(&a, cases[i].words, &err), 0);
		if (args_policy(&a, &err) >= 0)
			fail_msg("'crcore %s' was accepted", cases[i].words);
		error_text(&err, text);
		if (!strstr(text, cases[i].text))
			fail_msg("crcore %s: '%s' is not in '%s'", cases[i].words, cases[i].text, text);
		args_free(&a);
	}
}

/* What a dump accepts is text that a restore can load, though the text is longer than the file. */
static void test_policy_fits_the_image(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct args a;
	char text[ERROR_TEXT_MAX];
	FILE *f = fopen(policy_file, "ae");

	assert_non_null(f);
	fputs("# a list on one line\norder: { dump: { files: { after: [ ", f);
	for (int i = 0; i < 19900; i++)
		fputs("\"?a\",", f);
	fputs(" ] } } }\n", f);
	fclose(f);
	assert_int_equal(parse(&a, "check --policy %", &err), 0);
	assert_int_equal(args_policy(&a, &err), 0);
	args_free(&a);
	assert_int_equal(parse(&a, "dump -t 5 --policy %", &err), 0);
	assert_int_equal(args_policy(&a, &err), -E2BIG);
	error_text(&err, text);
	assert_string_equal(text, "policy with all flags: larger than 256 KiB: this is no policy");
	args_free(&a);
}

/* Names and letters are unique for each command, and every flag does something. */
static void test_table(void **state)
{
	for (const struct flag *f = flags; f->name; f++) {
		bool whole = !strcmp(f->name, "policy") || !strcmp(f->name, "plugins") ||
		             !strcmp(f->name, "set");
		assert_int_equal((f->apply != NULL) + (f->option != NULL) + whole, 1);
		assert_true(!f->option || f->text || (f->metavar && !flag_value_optional(f)));
		for (const struct flag *e = flags; e < f; e++) {
			if (e->verbs & f->verbs)
				assert_string_not_equal(e->name, f->name);
			if (f->letter && strcmp(e->name, f->name))
				assert_int_not_equal(e->letter, f->letter);
		}
	}
}

static void test_help(void **state)
{
	for (const struct verb *v = verbs; v->name; v++) {
		cleanup_free char *text = NULL;
		size_t len;
		FILE *f = open_memstream(&text, &len);
		help_print(f, v);
		fclose(f);
		for (const struct flag *g = flags; g->name; g++) {
			char name[60];
			snprintf(name, sizeof(name), "--%s", g->name);
			if ((g->verbs & v->bit) && !strstr(text, name))
				fail_msg("crcore help %s does not know %s", v->name, name);
		}
	}
	cleanup_free char *man = NULL;
	size_t len;
	FILE *f = open_memstream(&man, &len);
	help_man(f);
	fclose(f);
	assert_non_null(strstr(man, ".B \\-t, \\-\\-tree PID\n"));
	assert_non_null(strstr(man, "restore.pid\\-wait"));
}

static void test_error_is_one_line(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	char text[ERROR_TEXT_MAX], small[20];

	crcore_fail_at(&err, 12, 3, "/tmp/a\nb\x1b[31m");
	crcore_fail(&err, -EBUSY, "is open");
	crcore_advise(&err, "close it");
	strcpy(err.plugin, "files");
	error_text(&err, text);
	assert_string_equal(text, "files: pid 12: fd 3: /tmp/a\\x0ab\\x1b[31m: is open; close it");
	/* C1 controls are control characters; umlauts are not, nor is a backslash; the end is whole */
	assert_int_equal(line_text(small, sizeof(small), "a\\\xc3\xa4\xc2\x9b" "31m\xff"), 19);
	assert_string_equal(small, "a\\\xc3\xa4\\xc2\\x9b31m\\xff");
	assert_int_equal(line_text(small, 7, "abcd\x1b[31m"), 4);
	assert_int_equal(line_text(small, 1, "a"), 0);
	err = (struct crcore_error)CRCORE_ERROR_INIT;
	err.code = -ENOENT; /* whoever failed said nothing */
	error_text(&err, text);
	assert_string_equal(text, "No such file or directory");
}

static int make_files(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct core_records records;

	if (!mkdtemp(dir))
		return -1;
	snprintf(policy_file, sizeof(policy_file), "%s/p.yaml", dir);
	snprintf(image_dir, sizeof(image_dir), "%s/image", dir);
	FILE *f = fopen(policy_file, "we");
	if (!f)
		return -1;
	fputs("version: 1\nplugins: { files: , sockets: , tcp: { established: keep }, cgroup-freezer: , "
	      "tmpfiles: { include: [ x ] } }\n", f);
	fclose(f);
	sample_records(&records);
	int r = sample_write(image_dir, &records, &err);
	core_records_free(&records);
	return r;
}

static int remove_files(void **state)
{
	DIR *d = opendir(image_dir);

	for (struct dirent *e; d && (e = readdir(d));) {
		char path[400];
		snprintf(path, sizeof(path), "%s/%s", image_dir, e->d_name);
		unlink(path);
	}
	if (d)
		closedir(d);
	rmdir(image_dir);
	unlink(policy_file);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_restore_begins_with_the_image),
		cmocka_unit_test(test_options_refused),
		cmocka_unit_test(test_policy_fits_the_image), /* from here on the file is large */
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_error_is_one_line),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
