/* SPDX-License-Identifier: Apache-2.0 */
/* `crcore help` and the manual page, both from the tables of flags.c. */
#include "core/cli/flags.h"
#include "core/policy/core_options.h"
#include "core/util/util.h"

#define HELP_COLUMN 30

/* Is f the first entry of its name that any of these commands has? */
static bool first_of_name(const struct flag *f, unsigned mask)
{
	if (!(f->verbs & mask))
		return false;
	for (const struct flag *e = flags; e < f; e++)
		if (!strcmp(e->name, f->name) && (e->verbs & mask))
			return false;
	return true;
}

/* "-t, --tree PID" */
static int synopsis(char *ret, size_t len, const struct flag *f)
{
	char letter[8] = "    ";
	const char *value = f->metavar ? f->metavar : "";
	const char *joint = !f->metavar ? "" : flag_value_optional(f) ? "[=" : " ";

	if (f->letter)
		snprintf(letter, sizeof(letter), "-%c, ", f->letter);
	return snprintf(ret, len, "%s--%s%s%s", letter, f->name, joint,
	                flag_value_optional(f) ? value + 1 : value);
}

static void print_flags(FILE *f, unsigned mask)
{
	for (const struct flag *g = flags; g->name; g++) {
		char left[80];
		if (!first_of_name(g, mask))
			continue;
		int n = synopsis(left, sizeof(left), g);
		fprintf(f, "  %s", left);
		if (n + 2 >= HELP_COLUMN)
			fprintf(f, "\n%*s", HELP_COLUMN, "");
		else
			fprintf(f, "%*s", HELP_COLUMN - n - 2, "");
		fprintf(f, "%s", g->help);
		if (g->plugin)
			fprintf(f, " (%s.%s)", g->plugin, g->option);
		fputc('\n', f);
	}
}

void help_print(FILE *f, const struct verb *verb)
{
	if (verb) {
		fprintf(f, "Usage: crcore %s%s [FLAG...]%s%s\n%s.\n\n", verb->name,
		        verb->needs_pid ? " -t PID" : "", verb->operands ? " " : "",
		        verb->operands ? verb->operands : "", verb->summary);
		print_flags(f, verb->bit);
		return;
	}
	fprintf(f, "Usage: crcore COMMAND [FLAG...]\nSaves a running process tree to a folder of "
	        "images and brings it back.\n\nCommands:\n");
	for (const struct verb *v = verbs; v->name; v++)
		fprintf(f, "  %-12s%s\n", v->name, v->summary);
	fprintf(f, "  %-12s%s\n  %-12s%s\n", "help", "print this, or 'crcore help COMMAND' for its "
	        "flags", "--version", "print the version");
	fprintf(f, "\nExit status: 0 done, 1 failed, 2 bad usage; a restore that waits ends as the\n"
	        "restored root task did.\n");
}

/* Text of a manual page: backslashes and hyphens mean themselves, no line is a request. */
static void man_text(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (*s == '\\')
			fputs("\\e", f);
		else if (*s == '-')
			fputs("\\-", f);
		else if (*s == '\'')
			fputs("\\(aq", f);
		else
			fputc(*s, f);
	}
}

static void man_commands(FILE *f)
{
	fputs(".SH COMMANDS\n", f);
	for (const struct verb *v = verbs; v->name; v++) {
		fprintf(f, ".TP\n.B crcore %s", v->name);
		if (v->needs_pid)
			fputs(" \\-t PID", f);
		fputs(" [FLAG...]", f);
		if (v->operands)
			fprintf(f, " %s", v->operands);
		fputc('\n', f);
		man_text(f, v->summary);
		fputs(".\n", f);
	}
	fputs(".TP\n.B crcore help\n"
	      "Print the commands; \\fBcrcore help\\fR COMMAND prints its flags.\n", f);
}

static void man_flag(FILE *f, const struct flag *g)
{
	char left[80];
	const char *comma = "";

	synopsis(left, sizeof(left), g);
	fputs(".TP\n.B ", f);
	man_text(f, left + strspn(left, " "));
	fputc('\n', f);
	man_text(f, g->help);
	fputs(".\n", f);
	if (g->option) {
		fputs("Sets ", f);
		man_text(f, g->plugin ? g->plugin : "the option");
		fprintf(f, g->plugin ? "." : " ");
		man_text(f, g->option);
		if (g->text) {
			fputs(" to ", f);
			man_text(f, g->text);
		}
		fputs(" in the policy.\n", f);
	}
	fputs("For: ", f);
	for (const struct verb *v = verbs; v->name; v++)
		if (g->verbs & v->bit) {
			fprintf(f, "%s%s", comma, v->name);
			comma = ", ";
		}
	fputs(".\n", f);
}

static void man_options(FILE *f)
{
	fputs(".SH POLICY\n"
	      "A policy is a YAML file that names the plugins and their options; flags are an overlay\n"
	      "on it. Options of crcore itself:\n", f);
	for (const struct crcore_option *o = core_options; o->name; o++) {
		fputs(".TP\n.B ", f);
		man_text(f, o->name);
		fputs(" (", f);
		man_text(f, o->default_value);
		fputs(")\n", f);
		man_text(f, o->help);
		fputs(".\n", f);
	}
	fputs(".PP\n\\fBcrcore plugins\\fR prints the options of the plugins.\n", f);
}

void help_man(FILE *f)
{
	fprintf(f, ".\\\" Made by crcore help --man from the tables of core/cli/flags.c.\n.TH CRCORE 1 "
	        "\"\" \"crcore %s\" \"User Commands\"\n.SH NAME\ncrcore \\- save a running process "
	        "tree to files and bring it back\n.SH SYNOPSIS\n.B crcore\nCOMMAND [FLAG...]\n.SH "
	        "DESCRIPTION\ncrcore saves a running process tree (memory, threads, files, timers, "
	        "identities) to a\nfolder of images, and brings it back later, unchanged, with the "
	        "same pids. A dump that\nfails leaves the tree running as it was; a restore that fails "
	        "leaves nothing behind.\n", CRCORE_VERSION);
	man_commands(f);
	fputs(".SH FLAGS\n", f);
	for (const struct flag *g = flags; g->name; g++)
		man_flag(f, g);
	man_options(f);
	fputs(".SH EXIT STATUS\n"
	      "0 done, 1 failed, 2 bad usage. A restore that waits for the tree ends as the restored\n"
	      "root task did; SIGINT, SIGTERM, SIGHUP and SIGQUIT it hands on to that, and keys of\n"
	      "the terminal to its process group, unless it was told to ignore them. An error is one\n"
	      "line on standard error that begins with Error; with \\-\\-json it is an object on\n"
	      "standard output.\n"
	      ".SH ENVIRONMENT\n.TP\n.B CRCORE_CONFDIR\nA folder of policies, before ", f);
	man_text(f, CRCORE_CONFDIR);
	fputs(".\n.TP\n.B CRCORE_PLUGIN_PATH\nFolders of plugins, before the installed one.\n"
	      ".SH FILES\n.TP\n.B ", f);
	man_text(f, CRCORE_CONFDIR "/default.yaml");
	fputs("\nThe policy where none is named.\n"
	      ".SH EXAMPLES\n.nf\n"
	      "crcore check \\-t 1234              # what would keep it from being saved?\n"
	      "crcore dump \\-t 1234 \\-D /srv/image\n"
	      "crcore restore \\-D /srv/image \\-d\n"
	      ".fi\n", f);
}
