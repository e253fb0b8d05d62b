/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restore --plan: what would be done, by whom, before anything is. Descriptors
 * of the coordinator do not exist yet and show as -1. Strings of the image go through
 * print_string().
 */
#include "core/restore/restore.h"
#include "core/util/text.h"

static void print_objects(const struct restore *r, FILE *f)
{
	fprintf(f, "coordinator:\n");
	for (unsigned i = 0; i < r->rec.nsegments; i++)
		fprintf(f, "  make shared memory %u: %llu bytes\n", r->rec.segments[i]->id,
		        (unsigned long long)r->rec.segments[i]->size);
	for (unsigned i = 0; i < r->nobjects; i++) {
		fprintf(f, "  make object %u: %s: ", r->objects[i].id, r->objects[i].rec->plugin);
		print_string(f, r->objects[i].rec->label);
		fputc('\n', f);
	}
	fprintf(f, "  region of %llu bytes at %#llx\n", (unsigned long long)r->arena.limit,
	        (unsigned long long)r->arena.remote);
}

static void print_birth(const struct restore *r, unsigned i, FILE *f)
{
	const struct birth *b = &r->births.v[i];
	const struct stub *s = &r->stubs[i];

	fprintf(f, s->rec ? "task %d " : "helper %d", b->pid);
	if (s->rec)
		print_string(f, b->zombie || !s->rec->n_threads ? s->rec->comm : s->rec->threads[0]->comm);
	if (b->creator >= 0)
		fprintf(f, ", cloned by %d%s", r->births.v[b->creator].pid,
		        b->sibling ? " as its brother" : "");
	else
		fprintf(f, ", cloned by crcore");
	if (b->leads_session)
		fprintf(f, ", leads a session");
	fprintf(f, "%s:\n", b->zombie ? ", exits" : "");
}

void restore_print(struct restore *r, FILE *f)
{
	print_objects(r, f);
	for (unsigned i = 0; i < r->births.n; i++) {
		const struct stub *s = &r->stubs[i];
		print_birth(r, i, f);
		prog_print(s->p, f, "  ");
		for (size_t k = 1; s->threads && k < s->rec->n_threads; k++) {
			fprintf(f, "  thread %u ", s->rec->threads[k]->tid);
			print_string(f, s->rec->threads[k]->comm);
			fputs(":\n", f);
			prog_print(s->threads[k - 1], f, "    ");
		}
	}
	fprintf(f, "coordinator:\n  seize all threads, unmap the region, set registers, let go\n");
}
