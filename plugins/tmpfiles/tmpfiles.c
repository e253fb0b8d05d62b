/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "tmpfiles": options, sections, the hooks of the dump. See tmpfiles.h, tmpfiles.md. */
#include "tmpfiles.h"

#include <linux/capability.h>
#include <search.h>

/* Paths are bytes; attributes are stored in the way that any name and value survives. */
#define PAX_OPTIONS "pax:hdrcharset=BINARY,pax:xattrheader=LIBARCHIVE"

static int tmpfiles_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                         struct crcore_error *err)
{
	struct tmpfiles *t = calloc(1, sizeof(*t));

	if (!t)
		return crcore_no_memory(err);
	t->host = host;
	t->ctx = ctx;
	t->include = host->option(ctx, "include")->list;
	t->remap = host->option(ctx, "remap")->list;
	t->exists = (enum exists)host->option(ctx, "exists")->i;
	t->limit = (uint64_t)host->option(ctx, "limit")->i;
	t->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t->root < 0) {
		free(t);
		return crcore_fail(err, -errno, "cannot open /: %s", strerror(errno));
	}
	*ret_state = t;
	return 0;
}

static void tmpfiles_close(void *state)
{
	struct tmpfiles *t = state;

	entries_free(t);
	if (t->rec)
		tmpfiles__archive__free_unpacked(t->rec, NULL);
	close(t->root);
	free(t);
}

/* -- dump ---------------------------------------------------------------------------- */

static void taking_free(struct taking *k)
{
	tdestroy(k->held, free);
	tdestroy(k->taken, free);
	tdestroy(k->links, free);
}

static int tmpfiles_observe(void *state, struct crcore_error *err)
{
	struct tmpfiles *t = state;
	struct taking k = { .t = t, .blob = -1, .err = err };

	if (!t->include || !t->include[0])
		return 0;
	int r = lib_need(err);
	if (r == 0)
		r = held_find(&k);
	if (r == 0)
		r = match_all(&k);
	taking_free(&k);
	return r;
}

/* The folder of the image may be in one that is included. */
static void find_image(struct taking *k)
{
	char at[40], path[PATH_MAX], *slash;

	place_link(k->blob, at);
	ssize_t n = readlink(at, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
	if (!slash || stat(path, &k->image) < 0)
		k->image.st_ino = 0;
}

static int open_archive(struct taking *k)
{
	k->blob = k->t->host->blob(k->t->ctx, "archive", k->err);
	if (k->blob < 0)
		return k->blob;
	find_image(k);
	k->a = archive_write_new();
	if (!k->a)
		return crcore_no_memory(k->err);
	if (archive_write_set_format_pax(k->a) != ARCHIVE_OK ||
	    archive_write_set_options(k->a, PAX_OPTIONS) != ARCHIVE_OK ||
	    archive_write_open_fd(k->a, k->blob) != ARCHIVE_OK)
		return archive_failed(k->a, k->err);
	return 0;
}

static int put_record(struct taking *k)
{
	Tmpfiles__Archive rec = TMPFILES__ARCHIVE__INIT;
	uint8_t buf[32];

	if (archive_write_close(k->a) != ARCHIVE_OK)
		return archive_failed(k->a, k->err);
	rec.entries = k->entries;
	rec.bytes = k->bytes;
	k->t->host->log(k->t->ctx, 2, "%u files and directories, %llu bytes", k->entries,
	                (unsigned long long)k->bytes);
	return k->t->host->put_record(k->t->ctx, "archive", buf, tmpfiles__archive__pack(&rec, buf),
	                              k->err);
}

static int tmpfiles_save(void *state, struct crcore_error *err)
{
	struct tmpfiles *t = state;
	struct taking k = { .t = t, .blob = -1, .err = err };

	if (!t->include || !t->include[0])
		return 0;
	int r = lib_need(err);
	if (r == 0)
		r = open_archive(&k);
	if (r == 0)
		r = held_find(&k);
	if (r == 0)
		r = match_all(&k);
	if (r == 0)
		r = put_record(&k);
	if (k.a)
		archive_write_free(k.a);
	taking_free(&k);
	return r;
}

/* -- restore --------------------------------------------------------------------------- */

static int tmpfiles_load_record(void *state, const char *section, uint32_t version, const void *msg,
                                size_t len, struct crcore_error *err)
{
	struct tmpfiles *t = state;
	Tmpfiles__Archive *rec = tmpfiles__archive__unpack(NULL, len, msg);

	if (!rec || t->rec) {
		if (rec)
			tmpfiles__archive__free_unpacked(rec, NULL);
		return crcore_fail(err, -EBADMSG, "the record of section archive is damaged");
	}
	t->rec = rec;
	return 0;
}

static const char *const exists_choices[] = { "refuse", "keep", "replace", NULL };

static const struct crcore_option options[] = {
	{ .name = "include", .type = CRCORE_LIST,
	  .help = "absolute paths or patterns of files and folders to take into the image" },
	{ .name = "exists", .type = CRCORE_CHOICE, .default_value = "refuse", .choices = exists_choices,
	  .help = "restore: what to do if there is another file under that path" },
	{ .name = "remap", .type = CRCORE_MAP,
	  .help = "restore: beginnings of paths, and what to put in their place" },
	{ .name = "limit", .type = CRCORE_SIZE, .default_value = "64MiB",
	  .help = "largest contents of all files together that an image takes" },
	{ .name = NULL },
};

static const struct crcore_section sections[] = {
	{ .name = "archive", .version = 1 },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_DAC_OVERRIDE, "to read and make files wherever they are" },
	{ CAP_FOWNER, "to read files without changing their access time, to set their times" },
	{ CAP_CHOWN, "to give files back their owner" },
	{ 0, NULL },
};

CRCORE_ONLY_FOR(0, "");

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "tmpfiles",
	.version = "1",
	.summary = "files that no task holds open but the program will want again",
	.options = options,
	.sections = sections,
	.needs = needs,
	.open = tmpfiles_open,
	.close = tmpfiles_close,
	.observe = tmpfiles_observe,
	.save = tmpfiles_save,
	.load_record = tmpfiles_load_record,
	.check = tmpfiles_check,
	.prepare = tmpfiles_prepare,
};
