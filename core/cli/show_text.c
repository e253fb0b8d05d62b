/* SPDX-License-Identifier: Apache-2.0 */
/* `show` for people: a summary of the manifest, then the tasks as a tree. */
#include <inttypes.h>
#include <time.h>
#include "core/cli/show.h"
#include "core/util/util.h"

static void print_plugins(const struct show *s, FILE *f)
{
	const Crcore__Manifest *m = image_manifest(s->img);

	for (size_t i = 0; i < m->n_plugins; i++) {
		const Crcore__PluginUse *p = m->plugins[i];
		fputs("  plugin ", f);
		print_string(f, p->name);
		if (*p->version)
			fputc(' ', f);
		print_string(f, p->version);
		for (size_t j = 0; j < p->n_sections; j++) {
			const char *name = p->sections[j]->name;
			struct section_count c = show_count_section(s, p->name, name);
			fprintf(f, "%s%s: %" PRIu64 " record%s", j ? ", " : ": ", name, c.records,
			        plural(c.records));
		}
		fputc('\n', f);
	}
}

static void print_summary(const struct show *s, FILE *f)
{
	const Crcore__Manifest *m = image_manifest(s->img);
	unsigned threads = 0;
	uint64_t bytes = 0, pages = 0;
	time_t made = (time_t)m->created;
	struct tm tm;
	char date[40] = "";

	for (unsigned i = 0; i < s->records.ntasks; i++)
		threads += (unsigned)s->records.tasks[i]->n_threads;
	for (size_t i = 0; i < m->n_files; i++) {
		bytes += m->files[i]->length;
		if (!strncmp(m->files[i]->name, "pages-", 6))
			pages += m->files[i]->length;
	}
	fputs("Image ", f);
	print_string(f, s->dir);
	fprintf(f, ", format %u\n", m->format);
	if (m->created && gmtime_r(&made, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC, ", &tm);
	fprintf(f, "  made %son kernel ", date);
	print_string(f, m->kernel);
	fputs(", ", f);
	print_string(f, m->machine);
	fprintf(f, "\n  %u process%s, %u thread%s, %u address space%s\n  ", s->records.ntasks,
	        s->records.ntasks == 1 ? "" : "es", threads, plural(threads), s->records.nmms,
	        plural(s->records.nmms));
	print_size(f, bytes, ", of that ");
	print_size(f, pages, " of pages\n");
	if (m->parent) {
		fputs("  made on ", f);
		print_string(f, m->parent->path);
		fputs(": ", f);
		print_size(f, m->parent->pages, " of pages are there and before\n");
	}
	if (m->tracking)
		fprintf(f, "  process %u tracked the tree from then on\n", m->tracking->pid);
	if (m->shell_job)
		fputs("  a job of a shell: its session is outside of the tree\n", f);
	print_plugins(s, f);
	fputc('\n', f);
}

/* ---- the tree: indexes into tasks; 0, the root, is nobody's child ---- */

struct links { unsigned *parent, *child, *next; };

#define LEVELS 24 /* deeper tasks are not indented further */
#define PREFIX_MAX (5 * LEVELS + 16)

static bool link_tasks(const struct show *s, struct links *l)
{
	unsigned n = s->records.ntasks;

	l->parent = calloc(n, sizeof(*l->parent));
	l->child = calloc(n, sizeof(*l->child));
	l->next = calloc(n, sizeof(*l->next));
	if (!l->parent || !l->child || !l->next)
		return false;
	for (unsigned i = n - 1; i > 0; i--) {
		unsigned p = core_task_index(&s->records, s->records.tasks[i]->ppid);
		l->parent[i] = p;
		l->next[i] = l->child[p];
		l->child[p] = i;
	}
	return true;
}

/* What stands before a task's lines: a bar for each ancestor that has more children to come. */
static void make_prefix(const struct links *l, unsigned i, bool first_line, char ret[PREFIX_MAX])
{
	unsigned path[LEVELS], depth = 0;
	char *p = ret;

	for (unsigned a = i; a; a = l->parent[a])
		if (depth < LEVELS)
			path[depth++] = a;
	while (depth) {
		unsigned a = path[--depth];
		const char *more = l->next[a] ? "|    " : "     ";
		p = stpcpy(p, a == i && first_line ? l->next[a] ? "|- " : "`- " : more);
	}
	if (!first_line)
		p = stpcpy(p, l->child[i] ? "|      " : "       ");
	*p = 0;
}

static void print_tree(const struct show *s, const struct links *l, FILE *f)
{
	char first[PREFIX_MAX], rest[PREFIX_MAX];

	for (unsigned i = 0;;) {
		make_prefix(l, i, true, first);
		make_prefix(l, i, false, rest);
		fputs(first, f);
		show_task(s, s->records.tasks[i], rest, f);
		if (l->child[i]) {
			i = l->child[i];
			continue;
		}
		while (i && !l->next[i])
			i = l->parent[i];
		if (!i)
			return;
		i = l->next[i];
	}
}

void show_text(const struct show *s, FILE *f)
{
	struct links l = { 0 };

	print_summary(s, f);
	if (link_tasks(s, &l))
		print_tree(s, &l, f);
	free(l.parent);
	free(l.child);
	free(l.next);
}
