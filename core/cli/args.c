/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing. Flags are collected first and applied afterwards, since a flag that
 * sets an option needs the policy, which other flags name. A flag that has no
 * meaning for the command is refused: nothing is accepted and then ignored.
 */
#include "core/cli/flags.h"
#include "core/image/image.h"
#include "core/util/nearest.h"
#include "core/util/util.h"
#include <getopt.h>

#define FLAGS_MAX 64
#define LONG_BASE 1000 /* getopt's value of the long flag i, which letters are below */

struct getopt_tables {
	struct option longs[FLAGS_MAX + 1];
	char shorts[3 * FLAGS_MAX + 3];
};

static void make_tables(struct getopt_tables *t, bool stop_at_operand)
{
	unsigned n = 0;
	char *s = t->shorts;

	if (stop_at_operand)
		*s++ = '+';
	*s++ = ':';
	for (unsigned i = 0; flags[i].name && i < FLAGS_MAX; i++) {
		const struct flag *f = &flags[i];
		bool twice = false;
		for (unsigned k = 0; k < i; k++)
			twice |= !strcmp(flags[k].name, f->name);
		if (twice)
			continue;
		t->longs[n++] = (struct option){ f->name, flag_value_optional(f) ? optional_argument :
		                                 f->metavar ? required_argument : no_argument,
		                                 NULL, LONG_BASE + (int)i };
		if (!f->letter)
			continue;
		*s++ = (char)f->letter;
		for (int colons = flag_value_optional(f) ? 2 : f->metavar ? 1 : 0; colons; colons--)
			*s++ = ':';
	}
	t->longs[n] = (struct option){ 0 };
	*s = 0;
}

/* The entry for this verb, given any entry of the name. */
static const struct flag *for_verb(const struct flag *any, const struct verb *verb)
{
	for (const struct flag *f = flags; f->name; f++)
		if (!strcmp(f->name, any->name) && (f->verbs & verb->bit))
			return f;
	return NULL;
}

static const struct flag *by_getopt(int c)
{
	if (c >= LONG_BASE)
		return &flags[c - LONG_BASE];
	for (const struct flag *f = flags; f->name; f++)
		if (f->letter == c)
			return f;
	return NULL;
}

static int unknown_flag(const char *word, const struct verb *verb, struct crcore_error *err)
{
	size_t len = strcspn(word, "=");
	char name[60];

	snprintf(name, sizeof(name), "%.*s", (int)len, word);
	if (!strncmp(name, "--", 2)) {
		struct nearest near = NEAREST_INIT(name + 2);
		for (const struct flag *f = flags; f->name; f++)
			if (f->verbs & verb->bit)
				nearest_try(&near, f->name);
		if (near.best)
			crcore_advise(err, "did you mean --%s?", near.best);
	}
	crcore_advise(err, "see 'crcore help %s'", verb->name);
	return crcore_fail(err, -EINVAL, "there is no flag %s", name);
}

static int other_verbs(const struct flag *any, const char *written, const struct verb *verb,
                       struct crcore_error *err)
{
	char list[120] = "";
	size_t len = 0;

	for (const struct verb *v = verbs; v->name; v++)
		if (for_verb(any, v) && len < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "",
			                        v->name);
	crcore_advise(err, "it is a flag of: %s", list);
	return crcore_fail(err, -EINVAL, "%s does nothing for 'crcore %s'", written, verb->name);
}

static int collect(struct args *a, const struct flag *any, const char *value, bool is_long,
                   struct crcore_error *err)
{
	struct given g = { .flag = for_verb(any, a->verb), .value = value };

	if (is_long)
		snprintf(g.origin, sizeof(g.origin), "--%s", any->name);
	else
		snprintf(g.origin, sizeof(g.origin), "-%c", any->letter);
	if (!g.flag)
		return other_verbs(any, g.origin, a->verb, err);
	if (!GROW(a->given, a->ngiven))
		return crcore_no_memory(err);
	a->given[a->ngiven++] = g;
	if (!g.flag->apply)
		return 0;
	int r = g.flag->apply(a, value, err);
	if (r < 0)
		crcore_fail_at(err, -1, -1, "%s", g.origin);
	return r;
}

/* What getopt does not like: word is the argument it stands at. */
static int misused(int c, const char *word, const struct verb *verb, struct crcore_error *err)
{
	const struct flag *f = optopt ? by_getopt(optopt) : NULL;

	if (!f && optopt && strncmp(word, "--", 2)) {
		char letter[3] = { '-', (char)optopt, 0 };
		return unknown_flag(letter, verb, err);
	}
	if (!f)
		return unknown_flag(word, verb, err);
	crcore_advise(err, "see 'crcore help %s'", verb->name);
	if (c == ':')
		return crcore_fail(err, -EINVAL, "%s needs a value: %s", word, f->metavar);
	return crcore_fail(err, -EINVAL, "%s takes no value", word);
}

static int parse_flags(struct args *a, int argc, char **argv, struct crcore_error *err)
{
	struct getopt_tables t;

	make_tables(&t, a->verb->bit == V_EXEC); /* numbers below 0 are no flags there */
	optind = 0; /* glibc: begin anew */
	opterr = 0;
	for (;;) {
		int at = optind ? optind : 1;
		int c = getopt_long(argc, argv, t.shorts, t.longs, NULL);
		if (c == -1)
			break;
		if (c == '?' || c == ':')
			return misused(c, argv[at < optind ? optind - 1 : at], a->verb, err);
		int r = collect(a, by_getopt(c), optarg, c >= LONG_BASE, err);
		if (r < 0)
			return r;
	}
	a->command.args = argv + optind;
	a->command.nargs = argc - optind;
	return 0;
}

static int stray_operand(const struct verb *v, const char *word, struct crcore_error *err)
{
	if (v->bit & (V_RESTORE | V_SHOW))
		crcore_advise(err, "the folder of an image is named with -D: crcore %s -D %s", v->name,
		              word);
	else if (v->needs_pid && strspn(word, "0123456789") == strlen(word))
		crcore_advise(err, "a process is named with -t: crcore %s -t %s", v->name, word);
	return crcore_fail(err, -EINVAL, "'crcore %s' takes no '%s'", v->name, word);
}

static int check_operands(const struct args *a, struct crcore_error *err)
{
	const struct verb *v = a->verb;
	int r = 0;

	if (!v->operands && a->command.nargs)
		r = stray_operand(v, a->command.args[0], err);
	else if (v->needs_pid && !a->command.pid)
		r = crcore_fail(err, -EINVAL, "'crcore %s' needs -t PID", v->name);
	else if (v->operands && !a->command.nargs)
		r = crcore_fail(err, -EINVAL, "'crcore %s' needs %s", v->name, v->operands);
	if (r < 0)
		crcore_advise(err, "see 'crcore help %s'", v->name);
	return r;
}

static int unknown_verb(const char *word, struct crcore_error *err)
{
	struct nearest near = NEAREST_INIT(word);

	for (const struct verb *v = verbs; v->name; v++)
		nearest_try(&near, v->name);
	if (near.best)
		crcore_advise(err, "did you mean '%s'?", near.best);
	crcore_advise(err, "see 'crcore help'");
	return crcore_fail(err, -EINVAL, *word == '-' ?
	                   "a command comes before the flags, not '%s'" :
	                   "there is no command '%s'", word);
}

/* crcore help [VERB], crcore help --man */
static int parse_help(struct args *a, int argc, char **argv, struct crcore_error *err)
{
	a->help = true;
	if (argc > 2 && !strcmp(argv[2], "--man")) {
		a->man = true;
		return 0;
	}
	if (argc > 2 && !(a->verb = verb_find(argv[2])))
		return unknown_verb(argv[2], err);
	return 0;
}

int args_parse(struct args *a, int argc, char **argv, struct crcore_error *err)
{
	const char *word = argc > 1 ? argv[1] : "";

	*a = (struct args){ .command = { .images_dir = ".", .verbosity = 1 } };
	if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
		a->version = true;
		return 0;
	}
	if (!strcmp(word, "help") || !strcmp(word, "--help") || !strcmp(word, "-h"))
		return parse_help(a, argc, argv, err);
	if (!*word) {
		crcore_advise(err, "see 'crcore help'");
		return crcore_fail(err, -EINVAL, "no command");
	}
	a->verb = verb_find(word);
	if (!a->verb)
		return unknown_verb(word, err);
	a->command.verb = a->verb->name;
	int r = parse_flags(a, argc - 1, argv + 1, err);
	if (r >= 0 && !a->help)
		r = check_operands(a, err);
	return r < 0 || a->help ? r : stream_check(a, err);
}

void args_free(struct args *a)
{
	image_place_close(a->command.received);
	policy_free(a->command.policy);
	free(a->given);
}
