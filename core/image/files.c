/* SPDX-License-Identifier: Apache-2.0 */
/* The files of an image: the list of them, and opening them below the folder's descriptor. */
#include <fcntl.h>
#include "core/image/image_priv.h"

unsigned image_page_number(const char *name)
{
	unsigned n = 0;
	const char *p = name + 6;

	if (strncmp(name, "pages-", 6) || *p < '1' || *p > '9')
		return 0;
	for (; *p >= '0' && *p <= '9' && n < PAGE_FILES_MAX; p++)
		n = 10 * n + (unsigned)(*p - '0');
	return strcmp(p, ".bin") || n > PAGE_FILES_MAX ? 0 : n;
}

struct image_file *image_file_find(struct image *img, const char *name)
{
	for (unsigned i = 0; i < img->nfiles; i++)
		if (!strcmp(img->files[i]->name, name))
			return img->files[i];
	return NULL;
}

struct image_file *image_file_add(struct image *img, const char *name, enum file_kind kind,
                                  struct crcore_error *err)
{
	struct image_file *f = calloc(1, sizeof(*f));

	if (f) {
		snprintf(f->name, sizeof(f->name), "%s", name);
		f->kind = kind;
		f->fd = -1;
	}
	pthread_mutex_lock(&img->lock);
	bool room = f && GROW(img->files, img->nfiles);
	if (room)
		img->files[img->nfiles++] = f;
	pthread_mutex_unlock(&img->lock);
	if (!room) {
		free(f);
		crcore_no_memory(err);
		return NULL;
	}
	return f;
}

static int open_nameless(void)
{
	const char *dir = secure_getenv("TMPDIR");

	return open(dir && *dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

int image_file_create(struct image *img, struct image_file *f, struct crcore_error *err)
{
	/* Readable too: what was written by other means is read back to checksum it. */
	f->fd = img->stream ? open_nameless() :
	        openat(img->dir, f->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	f->made = f->fd >= 0;
	if (f->fd >= 0)
		return 0;
	int r = -errno;
	if (img->stream)
		crcore_advise(err, "set TMPDIR to a folder that has room for what is not pages");
	return image_cannot(img, f->name, r, "create the file", err);
}

int image_file_open(struct image *img, struct image_file *f, struct crcore_error *err)
{
	struct stat st;

	f->fd = openat(img->dir, f->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (f->fd < 0 && errno == ENOENT)
		return image_fail(img, f->name, -EBADMSG, "is missing", err);
	if (f->fd < 0 && errno != ELOOP)
		return image_cannot(img, f->name, -errno, "open the file", err);
	if (f->fd < 0 || fstat(f->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return image_fail(img, f->name, -EBADMSG, "not a plain file", err);
	if ((uint64_t)st.st_size != f->length) {
		crcore_fail(err, -EBADMSG, "is %lld bytes long, not %llu: damaged or truncated",
		            (long long)st.st_size, (unsigned long long)f->length);
		return image_fail(img, f->name, -EBADMSG, "", err);
	}
	if (img->page_files > PAGE_FILES && image_page_number(f->name))
		close(STEAL_FD(f->fd));
	return 0;
}

int bulk_open(const struct image *img, const struct image_file *f)
{
	if (f->fd >= 0)
		return f->fd;
	int fd = openat(img->dir, f->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void bulk_close(const struct image_file *f, int fd)
{
	if (fd >= 0 && fd != f->fd)
		close(fd);
}

void image_file_free(struct image_file *f)
{
	if (!f)
		return;
	if (f->fd >= 0)
		close(f->fd);
	if (f->state)
		XXH3_freeState(f->state);
	free(f->buf);
	free(f->blocks);
	packed_free(f);
	free(f->part);
	free(f);
}

int write_all(int fd, const void *buf, size_t len)
{
	for (const char *p = buf; len;) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int pwrite_all(int fd, const void *buf, size_t len, uint64_t offset)
{
	for (const char *p = buf; len;) {
		ssize_t n = pwrite(fd, p, len, (off_t)offset);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
			offset += (uint64_t)n;
		}
	}
	return 0;
}

int pread_all(int fd, void *buf, size_t len, uint64_t offset)
{
	for (char *p = buf; len;) {
		ssize_t n = pread(fd, p, len, (off_t)offset);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EIO;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
			offset += (uint64_t)n;
		}
	}
	return 0;
}
