/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Last wills about names (plugin.h, will_call): what a restore has put into a file system goes
 * again, and what it has moved aside comes back, if crcore is killed before the tree is let
 * go. The functions that end in _ run in another process: they use nothing but their bytes
 * and system calls. Without will_call (an older host) nothing is promised.
 */
#ifndef PLUGINS_WILLS_H
#define PLUGINS_WILLS_H

#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Behind it the path and, of two, the other. Bytes of a will are not aligned. */
struct will_name_ {
	dev_t dev;
	ino_t ino;
	struct timespec since;
};

/* service: will_call or will_image of the host, NULL: it has none. */
typedef int will_service_(struct crcore_ctx *, void (*fn)(const void *, size_t), const void *bytes,
                          size_t len, struct crcore_error *);

static inline int will_make_by_(will_service_ *service, struct crcore_ctx *ctx,
                                void (*fn)(const void *, size_t), struct will_name_ like,
                                const char *path, const char *other, struct crcore_error *err)
{
	size_t n = strlen(path) + 1, more = other ? strlen(other) + 1 : 0;
	size_t len = sizeof(like) + n + more;
	char *bytes;

	if (!service)
		return 0;
	bytes = malloc(len);
	if (!bytes)
		return crcore_no_memory(err);
	memcpy(bytes, &like, sizeof(like));
	memcpy(bytes + sizeof(like), path, n);
	if (other)
		memcpy(bytes + sizeof(like) + n, other, more);
	int r = service(ctx, fn, bytes, len, err);
	free(bytes);
	return r;
}

static inline int will_make_(const struct crcore_host *host, struct crcore_ctx *ctx,
                             void (*fn)(const void *, size_t), struct will_name_ like,
                             const char *path, const char *other, struct crcore_error *err)
{
	return will_make_by_(CRCORE_HAS(host, will_call) ? host->will_call : NULL, ctx, fn, like, path,
	                     other, err);
}

static inline const char *will_read_(const void *bytes, struct will_name_ *ret)
{
	memcpy(ret, bytes, sizeof(*ret));
	return (const char *)bytes + sizeof(*ret);
}

static inline void will_unlink_(const void *bytes, size_t len)
{
	struct will_name_ w;
	const char *path = will_read_(bytes, &w);

	if (unlink(path) < 0 && errno == EISDIR)
		rmdir(path);
}

/* Whatever is there goes: for a name that nobody else would use. */
static inline int will_remove(const struct crcore_host *host, struct crcore_ctx *ctx,
                              const char *path, struct crcore_error *err)
{
	return will_make_(host, ctx, will_unlink_, (struct will_name_){ 0 }, path, NULL, err);
}

static inline void will_unlink_inode_(const void *bytes, size_t len)
{
	struct will_name_ w;
	const char *path = will_read_(bytes, &w);
	struct stat st;

	if (lstat(path, &st) == 0 && st.st_dev == w.dev && st.st_ino == w.ino)
		will_unlink_(bytes, len);
}

/* Only that very inode goes: for a name that it is to get. */
static inline int will_remove_inode(const struct crcore_host *host, struct crcore_ctx *ctx,
                                    const char *path, dev_t dev, ino_t ino,
                                    struct crcore_error *err)
{
	return will_make_(host, ctx, will_unlink_inode_, (struct will_name_){ .dev = dev, .ino = ino },
	                  path, NULL, err);
}

/* Dump: the same for a name that the image needs, as long as that is not complete. */
static inline int will_remove_unless_sealed(const struct crcore_host *host, struct crcore_ctx *ctx,
                                            const char *path, dev_t dev, ino_t ino,
                                            struct crcore_error *err)
{
	return will_make_by_(CRCORE_HAS(host, will_image) ? host->will_image : NULL, ctx,
	                     will_unlink_inode_, (struct will_name_){ .dev = dev, .ino = ino }, path,
	                     NULL, err);
}

static inline void will_unlink_new_(const void *bytes, size_t len)
{
	struct will_name_ w;
	const char *path = will_read_(bytes, &w);
	struct statx st;

	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &st) == 0 &&
	    st.stx_mask & STATX_BTIME && (st.stx_btime.tv_sec > w.since.tv_sec ||
	    (st.stx_btime.tv_sec == w.since.tv_sec && (long)st.stx_btime.tv_nsec >= w.since.tv_nsec)))
		will_unlink_(bytes, len);
}

/* What is made there from now on goes, where the file system knows when it was made. */
static inline int will_remove_new(const struct crcore_host *host, struct crcore_ctx *ctx,
                                  const char *path, struct crcore_error *err)
{
	struct will_name_ like = { 0 };

	clock_gettime(CLOCK_REALTIME_COARSE, &like.since); /* as file systems do */
	return will_make_(host, ctx, will_unlink_new_, like, path, NULL, err);
}

static inline void will_rename_(const void *bytes, size_t len)
{
	struct will_name_ w;
	const char *aside = will_read_(bytes, &w);

	renameat2(AT_FDCWD, aside, AT_FDCWD, aside + strlen(aside) + 1, RENAME_NOREPLACE);
}

/* What was moved from path to aside comes back, if nothing is at path. */
static inline int will_put_back(const struct crcore_host *host, struct crcore_ctx *ctx,
                                const char *aside, const char *path, struct crcore_error *err)
{
	return will_make_(host, ctx, will_rename_, (struct will_name_){ 0 }, aside, path, err);
}
#endif
