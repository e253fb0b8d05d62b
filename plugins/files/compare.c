/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: is a file still what it was at the dump? What the program has in
 * memory (an offset, a cache, code that is mapped) belongs to the old contents.
 * Device numbers of file systems change from boot to boot, so of the identity
 * only the inode is compared.
 */
#include "files.h"

#include <fnmatch.h>
#include <inttypes.h>

static const char *type_name(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return "a regular file";
	case S_IFDIR: return "a directory";
	case S_IFCHR: return "a character device";
	case S_IFBLK: return "a block device";
	case S_IFIFO: return "a FIFO";
	case S_IFLNK: return "a symbolic link";
	case S_IFSOCK: return "a socket";
	default: return "of an unknown type";
	}
}

/* Its bytes are mapped (or may be): never accepted if they are not the same. */
static bool is_mapped(const Files__File *rec)
{
	return rec->use == CRCORE_USE_EXE ||
	       (rec->use == CRCORE_USE_MAPPING && (rec->flags & O_ACCMODE) == O_RDONLY);
}

static int differs(const Files__File *rec, const struct stat *st, struct crcore_error *err)
{
	if ((uint64_t)st->st_size != rec->size)
		return crcore_fail(err, -ESTALE, "the file has changed since the dump: its size was %"
		                   PRIu64 " bytes and is %" PRIu64, rec->size, (uint64_t)st->st_size);
	if (st->st_mtim.tv_sec != rec->mtime_s || (uint64_t)st->st_mtim.tv_nsec != rec->mtime_ns)
		return crcore_fail(err, -ESTALE, "the file has changed since the dump: it was last written "
		                   "at %" PRId64 ".%09u and is now of %" PRId64 ".%09u", rec->mtime_s,
		                   rec->mtime_ns, (int64_t)st->st_mtim.tv_sec,
		                   (unsigned)st->st_mtim.tv_nsec);
	return 0;
}

static int other_inode(const Files__File *rec, const struct stat *st, struct crcore_error *err)
{
	return crcore_fail(err, -ESTALE, "another %s has its name now: the inode was %" PRIu64 " and "
	                   "is %" PRIu64, S_ISDIR(st->st_mode) ? "directory" : "file", rec->ino,
	                   (uint64_t)st->st_ino);
}

static int compare_regular(const struct files *f, const Files__File *rec, const struct stat *st,
                           struct crcore_error *err)
{
	int r = 0;

	if (is_mapped(rec)) {
		r = differs(rec, st, err);
		if (r < 0)
			crcore_advise(err, "put back the version that was running: it is mapped into the "
			              "program");
		return r;
	}
	const enum changed changed = files_changed(f, rec->path);

	switch (changed) {
	case CHANGED_ACCEPT:
		return 0;
	case CHANGED_EMBED:
		r = differs(rec, st, err);
		break;
	case CHANGED_GREW:
	case CHANGED_TRUNCATE:
		if ((uint64_t)st->st_size < rec->size)
			r = differs(rec, st, err);
		else if (st->st_ino != rec->ino)
			r = other_inode(rec, st, err);
		break;
	case CHANGED_REFUSE:
		r = differs(rec, st, err);
		if (!r && st->st_ino != rec->ino)
			r = other_inode(rec, st, err);
		break;
	}
	if (r < 0)
		crcore_advise(err, "put the old file back, or set changed-file of the plugin files to "
		              "accept%s", changed == CHANGED_REFUSE ? " or grew" : "");
	return r;
}

enum changed files_changed(const struct files *f, const char *path)
{
	static const char *const words[] = { "refuse", "accept", "grew", "truncate", "embed" };

	for (const char *const *p = f->changed_paths; p && *p; p += 2)
		for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			if (!strcmp(p[1], words[i]) && fnmatch(p[0], path, 0) == 0)
				return (enum changed)i;
	return f->changed;
}

int files_compare(const struct files *f, const Files__File *rec, const struct stat *st,
                  struct crcore_error *err)
{
	if ((st->st_mode & S_IFMT) != (rec->mode & S_IFMT)) {
		crcore_advise(err, "put the old one back");
		return crcore_fail(err, -ESTALE, "it was %s and is %s now", type_name(rec->mode),
		                   type_name(st->st_mode));
	}
	if ((S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) && st->st_rdev != rec->rdev) {
		crcore_advise(err, "put the old device node back");
		return crcore_fail(err, -ESTALE, "another device has its name now");
	}
	if (rec->pseudo || rec->flags & O_PATH)
		return 0; /* nothing of it was open */
	/* A program may be in the middle of reading a directory; else it only names things in it. */
	if (S_ISDIR(st->st_mode) && rec->pos && st->st_ino != rec->ino &&
	    files_changed(f, rec->path) != CHANGED_ACCEPT) {
		crcore_advise(err, "put the old directory back, or set changed-file of the plugin files to "
		              "accept");
		return other_inode(rec, st, err);
	}
	return S_ISREG(st->st_mode) ? compare_regular(f, rec, st, err) : 0;
}
