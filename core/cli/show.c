/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `crcore show -D DIR [--json]`: what is in an image, for people as a tree of
 * tasks, for programs as JSON. Reads as much as a restore would check, except
 * the checksums of the pages. Contents of memory and of files are never printed;
 * the one thing read from memory is the command line, as ps(1) shows it.
 */
#include "core/cli/cli.h"
#include "core/cli/show.h"
#include "core/memory/memory.h"
#include "core/util/util.h"

const Crcore__Task *show_owner_mm(const struct show *s, uint32_t mm)
{
	for (unsigned i = 0; i < s->records.ntasks; i++)
		if (s->records.tasks[i]->mm == mm)
			return s->records.tasks[i];
	return NULL;
}

const char *show_comm(const Crcore__Task *t)
{
	return t->n_threads && t->threads[0]->comm[0] ? t->threads[0]->comm : t->comm;
}

static int count_one(void *arg, const void *msg, size_t len, struct crcore_error *err)
{
	struct section_count *c = arg;

	c->records++;
	c->bytes += len;
	return 0;
}

struct section_count show_count_section(const struct show *s, const char *prefix,
                                        const char *section)
{
	struct section_count c = { 0, 0 };

	(void)image_each(s->img, prefix, section, count_one, &c, NULL);
	return c;
}

static int load(struct show *s, struct crcore_error *err)
{
	int r = image_open(s->dir, false, &s->img, err);

	if (r == 0)
		r = core_records_load(s->img, &s->records, err);
	if (r == 0)
		r = pages_open(s->img, &s->pages, err);
	if (r == 0)
		r = memory_runs(s->img, &s->records, pages_length(s->pages), err);
	return r < 0 ? r : show_count_memory(s, err);
}

int show_image(const char *dir, bool json, FILE *f, struct crcore_error *err)
{
	struct show s = { .dir = dir };
	int r = load(&s, err);

	if (r == 0 && json)
		show_json(&s, f);
	else if (r == 0)
		show_text(&s, f);
	if (r == 0 && (fflush(f) || ferror(f)))
		r = crcore_fail(err, -EIO, "cannot write the output");
	free(s.memory);
	pages_close(s.pages);
	core_records_free(&s.records);
	image_close(s.img);
	return r;
}

int command_show(struct command *c, struct crcore_error *err)
{
	return show_image(c->images_dir, c->json, stdout, err);
}
