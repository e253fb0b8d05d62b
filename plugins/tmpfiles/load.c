/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: the headers of the archive, before anything exists. They are
 * untrusted: paths are absolute and normalised, no two are alike, a hard link
 * leads to an earlier file of the archive only, and what is kept in memory is
 * a part of what the archive's bytes take.
 */
#include "tmpfiles.h"

#include <search.h>

#define BLOCK (64u << 10)

struct reader { int fd; off_t at; char buf[BLOCK]; };

static la_ssize_t read_block(struct archive *a, void *arg, const void **ret)
{
	struct reader *rd = arg;
	ssize_t n = pread(rd->fd, rd->buf, BLOCK, rd->at);

	if (n < 0) {
		archive_set_error(a, errno, "cannot read the archive");
		return -1;
	}
	rd->at += n;
	*ret = rd->buf;
	return n;
}

static int end_reading(struct archive *a, void *arg)
{
	free(arg);
	return ARCHIVE_OK;
}

int archive_failed(struct archive *a, struct crcore_error *err)
{
	const char *why = archive_error_string(a);
	int code = archive_errno(a) > 0 ? -archive_errno(a) : -EBADMSG;

	return crcore_fail(err, code, "the archive: %s", why ? why : "no reason is known");
}

int archive_start(struct tmpfiles *t, struct archive **ret, struct crcore_error *err)
{
	int blob = t->host->blob(t->ctx, "archive", err);
	struct reader *rd = blob < 0 ? NULL : malloc(sizeof(*rd));

	if (blob < 0)
		return blob;
	*ret = archive_read_new();
	if (!*ret || !rd) {
		free(rd);
		return crcore_no_memory(err);
	}
	rd->fd = blob;
	rd->at = 0;
	archive_read_support_format_tar(*ret);
	if (archive_read_open(*ret, rd, NULL, read_block, end_reading) != ARCHIVE_OK)
		return archive_failed(*ret, err);
	return 0;
}

/* -- entries ------------------------------------------------------------------------- */

static int by_path(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return strcmp(x->path, y->path);
}

struct member *entry_find(const struct tmpfiles *t, const char *path)
{
	struct member key = { .path = (char *)path };
	void *node = tfind(&key, &t->by_path, by_path);

	return node ? *(struct member **)node : NULL;
}

static void no_free(void *p)
{
}

void entries_free(struct tmpfiles *t)
{
	tdestroy(t->by_path, no_free);
	for (unsigned i = 0; i < t->nentries; i++) {
		struct member *e = t->entries[i];
		archive_entry_free(e->dir);
		free(e->path);
		free(e->target);
		free(e);
	}
	free(t->entries);
}

/* A path of the archive, remapped by the longest prefix that fits. NULL: no sound path. */
static char *map_path(const struct tmpfiles *t, const char *path)
{
	const char *from = "", *to = "";
	char *ret, clean[PATH_MAX];
	size_t len = path ? strlen(path) : 0, best = 0;

	if (len < 2 || len >= sizeof(clean))
		return NULL;
	memcpy(clean, path, len + 1);
	if (clean[len - 1] == '/') /* so are directories in archives */
		clean[len - 1] = '\0';
	if (!place_valid(clean))
		return NULL;
	for (unsigned i = 0; t->remap && t->remap[i]; i += 2) {
		size_t n = strlen(t->remap[i]);
		if (n > best && !strncmp(clean, t->remap[i], n) && (!clean[n] || clean[n] == '/')) {
			best = n;
			from = t->remap[i];
			to = t->remap[i + 1];
		}
	}
	if (asprintf(&ret, "%s%s", to, clean + strlen(from)) < 0)
		return NULL;
	if (place_valid(ret))
		return ret;
	free(ret);
	return NULL;
}

static int damaged(const char *path, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "%s", path ? path : "an entry without a path");
	return crcore_fail(err, -EBADMSG, "an entry of the archive makes no sense");
}

static int fill(struct tmpfiles *t, struct member *e, struct archive_entry *ae,
                struct crcore_error *err)
{
	const char *path = archive_entry_pathname(ae), *hard = archive_entry_hardlink(ae);
	const char *soft = archive_entry_symlink(ae);

	e->t = t;
	e->path = map_path(t, path);
	e->st = *archive_entry_stat(ae);
	e->target = hard ? map_path(t, hard) : soft ? strdup(soft) : NULL;
	if (!e->path || e->st.st_size < 0 || (hard && !e->target))
		return damaged(path, err);
	if (hard) {
		e->same = entry_find(t, e->target);
		if (!e->same || e->same->same || S_ISDIR(e->same->st.st_mode))
			return damaged(path, err);
		e->st.st_mode = e->same->st.st_mode;
		return 0;
	}
	switch (e->st.st_mode & S_IFMT) {
	case S_IFLNK:
		return e->target && *e->target ? 0 : damaged(path, err);
	case S_IFREG:
	case S_IFDIR:
	case S_IFIFO:
	case S_IFCHR:
	case S_IFBLK:
		return 0;
	default:
		return damaged(path, err);
	}
}

/* Remapping may make one of two directories; anything else must be there once. */
static int add(struct tmpfiles *t, struct member *e, struct crcore_error *err)
{
	struct member *other = entry_find(t, e->path);

	if (other && S_ISDIR(other->st.st_mode) && S_ISDIR(e->st.st_mode)) {
		e->there = true;
		return 0;
	}
	if (other) {
		crcore_fail_at(err, -1, -1, "%s", e->path);
		return crcore_fail(err, -EEXIST, "two files would get this path");
	}
	return tsearch(e, &t->by_path, by_path) ? 0 : crcore_no_memory(err);
}

static int read_headers(struct tmpfiles *t, struct crcore_error *err)
{
	__attribute__((cleanup(cleanup_archive_read_))) struct archive *a = NULL;
	struct archive_entry *ae;
	int r = archive_start(t, &a, err), got;

	while (r == 0 && (got = archive_read_next_header(a, &ae)) != ARCHIVE_EOF) {
		if (got != ARCHIVE_OK)
			return archive_failed(a, err);
		struct member *e = calloc(1, sizeof(*e));
		if (!e || !GROW(t->entries, t->nentries)) {
			free(e);
			return crcore_no_memory(err);
		}
		t->entries[t->nentries++] = e;
		r = fill(t, e, ae, err);
		if (r == 0)
			r = add(t, e, err);
	}
	if (r == 0 && t->nentries != t->rec->entries)
		return crcore_fail(err, -EBADMSG, "the archive has %u entries instead of %u", t->nentries,
		                   t->rec->entries);
	return r;
}

int tmpfiles_check(void *state, struct crcore_error *err)
{
	struct tmpfiles *t = state;
	int r = t->rec ? lib_need(err) : 0;

	if (r == 0 && t->rec)
		r = read_headers(t, err);
	for (unsigned i = 0; r == 0 && t->remap && t->remap[i]; i++)
		if (!place_valid(t->remap[i])) {
			crcore_fail_at(err, -1, -1, "%s", t->remap[i]);
			crcore_advise(err, "give absolute paths without '.', '..' and a '/' at the end");
			return crcore_fail(err, -EINVAL, "cannot be a part of remap");
		}
	for (unsigned i = 0; r == 0 && i < t->nentries; i++)
		r = exists_check(t, t->entries[i], err);
	return r;
}
