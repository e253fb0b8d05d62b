/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `crcore merge -D NEW DIR`: an image and all its ancestors become one that stands by
 * itself. Records stay as they are but for where the bytes of pages lie: what nobody refers
 * to any more is left out, and what several refer to stays one. The tree that the image names
 * may still be tracked: a next dump can be made on the merged image as on the old one.
 */
#include "core/dump/dump.h"
#include "core/image/core_records.h"
#include "core/image/pages.h"
#include "core/memory/compact.h"
#include "core/memory/save_priv.h"
#include "core/util/parallel.h"
#include "core/util/util.h"
#include "core/util/worker.h"

struct merge {
	const struct command *cmd;
	struct image *from, *to;
	struct pages *pages;
	struct core_records rec;
	struct compact compact;
	const char *prefix, *section; /* being copied */
};

/* ---- where pages go --------------------------------------------------------------------- */

static bool add_runs(struct compact *c, Crcore__Run *const *v, size_t n)
{
	bool ok = true;

	for (size_t i = 0; ok && i < n; i++)
		if (v[i]->source == CRCORE__SOURCE__PAGES)
			ok = compact_add(c, v[i]->offset, v[i]->pages * PAGE);
	return ok;
}

static int find_places(struct merge *m, struct crcore_error *err)
{
	bool ok = true;

	for (unsigned i = 0; ok && i < m->rec.nmms; i++)
		ok = add_runs(&m->compact, m->rec.mms[i]->runs, m->rec.mms[i]->n_runs);
	for (unsigned i = 0; ok && i < m->rec.nsegments; i++)
		ok = add_runs(&m->compact, m->rec.segments[i]->runs, m->rec.segments[i]->n_runs);
	if (!ok)
		return crcore_no_memory(err);
	compact_place(&m->compact);
	return 0;
}

/* A run, cut where its bytes no longer lie one behind the other. */
static int place_run(const struct merge *m, const Crcore__Run *r, struct runs *out,
                     struct crcore_error *err)
{
	uint64_t len = r->pages * PAGE;
	int e = 0;

	if (r->source != CRCORE__SOURCE__PAGES)
		return runs_add(out, r->addr, r->pages, r->source, r->offset, r->mm, err);
	for (uint64_t done = 0, part; e == 0 && done < len; done += part) {
		uint64_t at = compact_find(&m->compact, r->offset + done, &part);
		part = part < len - done ? part : len - done;
		e = runs_add(out, r->addr + done, part / PAGE, r->source, at, 0, err);
	}
	return e;
}

static int place_runs(const struct merge *m, Crcore__Run ***v, size_t *n, struct crcore_error *err)
{
	struct runs old = { *v, *n }, new = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < old.n; i++)
		r = place_run(m, old.v[i], &new, err);
	runs_clear(&old);
	*v = new.v;
	*n = new.n;
	return r;
}

/* ---- pages --------------------------------------------------------------------------------- */

struct copying {
	const struct merge *m;
	int fd;
};

static int copy_block(const struct copying *c, uint64_t block, char *buf, struct crcore_error *err)
{
	const struct compact *k = &c->m->compact;
	uint64_t at = block * IMAGE_BLOCK, end = at + IMAGE_BLOCK;
	size_t a = 0, b = k->n - 1;
	int r = worker_check(err);

	if (end > k->length)
		end = k->length;
	while (a < b) { /* the piece that has the first byte */
		size_t mid = (a + b) / 2;
		if (k->v[mid].at + k->v[mid].len <= at)
			a = mid + 1;
		else
			b = mid;
	}
	for (uint64_t to = at; r == 0 && to < end; a++) {
		uint64_t skip = to - k->v[a].at, len = k->v[a].len - skip;
		len = len < end - to ? len : end - to;
		r = pages_read(c->m->pages, k->v[a].old + skip, buf + (to - at), len, err);
		to += len;
	}
	return r < 0 ? r : image_bulk_block(c->m->to, c->fd, block, buf, end - at, err);
}

static int copy_blocks(void *arg, size_t from, size_t to, struct crcore_error *err)
{
	const struct copying *c = arg;
	cleanup_free char *buf = malloc(IMAGE_BLOCK);
	int r = buf ? 0 : crcore_no_memory(err);

	for (size_t i = from; r == 0 && i < to; i++)
		r = copy_block(c, i, buf, err);
	return r;
}

static int copy_pages(struct merge *m, struct crcore_error *err)
{
	struct copying c = { .m = m, .fd = image_bulk(m->to, PAGE_FILE, err) };

	if (c.fd < 0)
		return c.fd;
	compact_by_place(&m->compact);
	return parallel_try((m->compact.length + IMAGE_BLOCK - 1) / IMAGE_BLOCK, 16, copy_blocks,
	                    &c, err);
}

/* ---- records and files of plugins ------------------------------------------------------------ */

static int put_record(void *arg, const void *msg, size_t len, struct crcore_error *err)
{
	const struct merge *m = arg;

	return image_put(m->to, m->prefix, m->section, msg, len, err);
}

static int copy_bulk(struct merge *m, const char *name, struct crcore_error *err)
{
	cleanup_free char *buf = malloc(IMAGE_BLOCK);
	uint64_t len = 0;
	int from = image_bulk_read(m->from, name, &len, err);
	int to = from < 0 ? from : image_bulk(m->to, name, err), r = to < 0 ? to : 0;

	if (!buf)
		return crcore_no_memory(err);
	for (uint64_t at = 0; r == 0 && at < len; at += IMAGE_BLOCK) {
		size_t n = len - at < IMAGE_BLOCK ? len - at : IMAGE_BLOCK;
		if (pread(from, buf, n, (off_t)at) != (ssize_t)n)
			return crcore_fail(err, -EIO, "cannot read %s", name);
		r = image_bulk_block(m->to, to, at / IMAGE_BLOCK, buf, n, err);
	}
	return r;
}

static int copy_file(struct merge *m, const char *name, struct crcore_error *err)
{
	cleanup_free char *copy = strdup(name);
	size_t n = strlen(name);

	if (image_page_number(name) || !strcmp(name, "core.mm.img") ||
	    !strcmp(name, "core.segment.img"))
		return 0; /* made anew */
	if (!copy)
		return crcore_no_memory(err);
	if (!strcmp(name + n - 4, ".bin"))
		return copy_bulk(m, name, err);
	copy[n - 4] = '\0'; /* PREFIX.SECTION.img */
	char *dot = strchr(copy, '.');
	if (!dot)
		return crcore_fail(err, -EBADMSG, "%s is not the name of a section", name);
	*dot = '\0';
	m->prefix = copy;
	m->section = dot + 1;
	return image_each(m->from, m->prefix, m->section, put_record, m, err);
}

static int write_records(struct merge *m, struct crcore_error *err)
{
	const Crcore__Manifest *old = image_manifest(m->from);
	int r = 0;

	for (size_t i = 0; r == 0 && i < old->n_files; i++)
		r = copy_file(m, old->files[i]->name, err);
	for (unsigned i = 0; r == 0 && i < m->rec.nmms; i++) {
		Crcore__Mm *mm = m->rec.mms[i];
		if ((r = place_runs(m, &mm->runs, &mm->n_runs, err)) == 0)
			r = image_put_message(m->to, "core", "mm", &mm->base, err);
	}
	for (unsigned i = 0; r == 0 && i < m->rec.nsegments; i++) {
		Crcore__Segment *s = m->rec.segments[i];
		if ((r = place_runs(m, &s->runs, &s->n_runs, err)) == 0)
			r = image_put_message(m->to, "core", "segment", &s->base, err);
	}
	return r;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int read_chain(struct merge *m, struct crcore_error *err)
{
	int r = image_open(m->cmd->args[0], true, &m->from, err);

	if (r < 0 || (r = pages_open(m->from, &m->pages, err)) < 0 ||
	    (r = core_records_load(m->from, &m->rec, err)) < 0)
		return r;
	r = memory_runs(m->from, &m->rec, pages_length(m->pages), err);
	return r < 0 ? r : find_places(m, err);
}

static int merge(struct worker *w, void *arg, struct crcore_error *err)
{
	struct merge m = { .cmd = arg };
	int r = read_chain(&m, err);

	if (r == 0 && (r = make_image(m.cmd, &m.to, err)) == 0 &&
	    (r = write_records(&m, err)) == 0 && (r = copy_pages(&m, err)) == 0) {
		Crcore__Manifest manifest = *image_manifest(m.from);
		manifest.files = NULL;
		manifest.n_files = 0;
		manifest.parent = NULL;
		r = image_seal(m.to, &manifest, err);
	}
	compact_free(&m.compact);
	core_records_free(&m.rec);
	pages_close(m.pages);
	image_close(m.from);
	image_close(m.to);
	return r;
}

int command_merge(struct command *cmd, struct crcore_error *err)
{
	if (cmd->nargs != 1) {
		crcore_advise(err, "write crcore merge -D NEW DIR");
		return crcore_fail(err, -EINVAL, "one image is merged with its ancestors, not %d",
		                   cmd->nargs);
	}
	return worker_run(merge, NULL, cmd, "what it has written is no image", err);
}
