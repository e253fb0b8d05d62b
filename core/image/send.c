/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image that goes out as a stream: a tar archive of what its folder would hold, so
 * tar(1) makes that folder of it. An archive says how long a file is before it begins, so
 * pages are cut into files of PART_BLOCKS blocks, which are put together in memory and
 * sent when they are complete. Records, and what plugins write themselves, wait in files
 * without a name until the end; the manifest is last.
 *
 * What a reader could break: there are never more than PARTS_MAX of these, however slow the
 * other end is. Who has a block of one more waits; that it can only be because blocks come
 * about in the order of their numbers: those that the others lack are in other hands.
 */
#include <fcntl.h>
#include <poll.h>
#include "core/image/image_priv.h"
#include "core/image/tar.h"

#define PART_BLOCKS 16u
#define PARTS_MAX 4          /* begun or on their way */
#define WRITE_MAX (1u << 20)
#define LOOK_EVERY 100 /* ms: whether to stop */

struct part { uint64_t number; struct image_file *file; unsigned filled; };

struct stream {
	int fd;
	bool ours;
	int (*stop)(struct crcore_error *);
	uint64_t started;
	pthread_mutex_t out;  /* one file at a time */
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t sent;
	struct part parts[PARTS_MAX]; /* that are not complete */
	unsigned nparts, nsending;
	unsigned char *unused[PARTS_MAX]; /* memory of parts that are gone */
	unsigned nunused;
	struct crcore_error failed;   /* of the first that could not send */
};

/* ---- the other end ---------------------------------------------------------------------- */

/* So that a slow reader cannot keep us from noticing that we are to stop: a description of
 * our own that does not wait. Others that use this descriptor must not see that. */
static void open_own(struct stream *s)
{
	char path[40];
	struct stat st;

	if (fstat(s->fd, &st) < 0 || !S_ISFIFO(st.st_mode))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->fd);
	int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	s->fd = fd;
	s->ours = true;
	(void)fcntl(fd, F_SETPIPE_SZ, WRITE_MAX);
}

int image_create_stream(int fd, int (*stop)(struct crcore_error *), struct image **ret,
                        struct crcore_error *err)
{
	struct image *img = image_new("(stream)");
	struct stream *s = calloc(1, sizeof(*s));

	if (!img || !s) {
		image_close(img);
		free(s);
		return crcore_no_memory(err);
	}
	*s = (struct stream){ .fd = fd, .stop = stop, .failed = CRCORE_ERROR_INIT,
	                      .started = (uint64_t)time(NULL) };
	pthread_mutex_init(&s->out, NULL);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->sent, NULL);
	open_own(s);
	img->writing = true;
	img->stream = s;
	*ret = img;
	return 0;
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	if (s->ours)
		close(s->fd);
	pthread_mutex_destroy(&s->out);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->sent);
	while (s->nunused)
		free(s->unused[--s->nunused]);
	free(s);
}

static int out_failed(int r, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "stream");
	if (r == -EPIPE)
		return crcore_fail(err, r, "whoever reads it is gone");
	return crcore_fail(err, r, "cannot write: %s", strerror(-r));
}

static int out(struct stream *s, const void *buf, size_t len, struct crcore_error *err)
{
	struct pollfd p = { s->fd, POLLOUT, 0 };
	int r = 0;

	for (const char *at = buf; r == 0 && len;) {
		if (s->stop && (r = s->stop(err)) < 0)
			return r;
		if (poll(&p, 1, LOOK_EVERY) <= 0)
			continue;
		ssize_t n = write(s->fd, at, len < WRITE_MAX ? len : WRITE_MAX);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return out_failed(-errno, err);
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return r;
}

static int out_head(struct stream *s, const char *name, uint64_t len, struct crcore_error *err)
{
	unsigned char block[TAR_BLOCK];

	if (!tar_put(block, name, len, s->started)) {
		crcore_fail_at(err, -1, -1, "stream");
		return crcore_fail(err, -ENAMETOOLONG, "'%s' is too long a name for it", name);
	}
	return out(s, block, sizeof(block), err);
}

static int out_pad(struct stream *s, uint64_t len, struct crcore_error *err)
{
	static const char zeroes[TAR_BLOCK];

	return out(s, zeroes, (TAR_BLOCK - len % TAR_BLOCK) % TAR_BLOCK, err);
}

int stream_bytes(struct image *img, const char *name, const void *bytes, size_t len,
                 struct crcore_error *err)
{
	struct stream *s = img->stream;
	int r;

	pthread_mutex_lock(&s->out);
	if ((r = out_head(s, name, len, err)) == 0 && (r = out(s, bytes, len, err)) == 0)
		r = out_pad(s, len, err);
	pthread_mutex_unlock(&s->out);
	return r;
}

static int send_file(struct image *img, struct image_file *f, struct crcore_error *err)
{
	struct stream *s = img->stream;
	cleanup_free void *buf = malloc(IMAGE_BLOCK);
	int r = buf ? out_head(s, f->name, f->length, err) : crcore_no_memory(err);

	for (uint64_t at = 0; r == 0 && at < f->length;) {
		size_t n = f->length - at < IMAGE_BLOCK ? f->length - at : IMAGE_BLOCK;
		r = pread_all(f->fd, buf, n, at);
		r = r < 0 ? image_cannot(img, f->name, r, "read it back", err) : out(s, buf, n, err);
		at += n;
	}
	return r < 0 ? r : out_pad(s, f->length, err);
}

int stream_send_files(struct image *img, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < img->nfiles; i++)
		if (!img->files[i]->contained && !image_page_number(img->files[i]->name))
			r = send_file(img, img->files[i], err);
	return r;
}

int stream_end(struct image *img, struct crcore_error *err)
{
	static const char end[2 * TAR_BLOCK];

	return out(img->stream, end, sizeof(end), err);
}

/* ---- pages ------------------------------------------------------------------------------ */

static struct image_file *new_part(struct image *img, uint64_t number, struct crcore_error *err)
{
	struct stream *s = img->stream;
	char name[IMAGE_NAME_MAX];

	if (number >= PAGE_FILES_MAX) {
		crcore_advise(err, "dump to a folder (-D)");
		crcore_fail(err, -EFBIG, "the tree has too much memory for a stream");
		return NULL;
	}
	snprintf(name, sizeof(name), "pages-%u.bin", (unsigned)number + 1);
	struct image_file *f = image_file_add(img, name, FILE_BULK, err);
	if (f)
		f->part = s->nunused ? s->unused[--s->nunused] : malloc((size_t)PART_BLOCKS * IMAGE_BLOCK);
	if (!f || !f->part) {
		crcore_no_memory(err);
		return NULL;
	}
	s->parts[s->nparts++] = (struct part){ number, f, 0 };
	return f;
}

static struct image_file *find_part(const struct stream *s, uint64_t number)
{
	for (unsigned i = 0; i < s->nparts; i++)
		if (s->parts[i].number == number)
			return s->parts[i].file;
	return NULL;
}

/* Nobody waits for what will not come; the caller has the lock. */
static void give_up(struct stream *s, const struct crcore_error *err)
{
	if (!s->failed.code)
		s->failed = *err;
	pthread_cond_broadcast(&s->sent);
}

static void wait_for_room(struct stream *s)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_EVERY * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&s->sent, &s->lock, &until);
	if (s->stop && s->stop(&err) < 0)
		give_up(s, &err);
}

struct image_file *stream_part(struct image *img, uint64_t *block, struct crcore_error *err)
{
	struct stream *s = img->stream;
	struct image_file *ret = NULL;
	uint64_t number = *block / PART_BLOCKS;

	*block %= PART_BLOCKS;
	pthread_mutex_lock(&s->lock);
	while (!(ret = find_part(s, number)) && !s->failed.code &&
	       s->nparts + s->nsending == PARTS_MAX)
		wait_for_room(s);
	if (s->failed.code) {
		*err = s->failed;
		ret = NULL;
	} else if (!ret) {
		ret = new_part(img, number, err);
		if (!ret)
			give_up(s, err);
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static int send_part(struct image *img, struct image_file *f, struct crcore_error *err)
{
	f->length = f->index ? f->end : f->hashed;
	if (f->nblocks != bulk_count(bulk_length(f)) || (f->index && f->hashed != f->unpacked))
		return image_fail(img, f->name, -EINVAL, "a block of pages is missing", err);
	return stream_bytes(img, f->name, f->part, f->length, err);
}

/* It counts as one of PARTS_MAX until it is gone. */
static int send_complete(struct image *img, struct image_file *f, struct crcore_error *err)
{
	struct stream *s = img->stream;
	int r = send_part(img, f, err);

	pthread_mutex_lock(&s->lock);
	s->nsending--;
	s->unused[s->nunused++] = STEAL(f->part);
	if (r < 0)
		give_up(s, err);
	pthread_cond_broadcast(&s->sent);
	pthread_mutex_unlock(&s->lock);
	return r;
}

int stream_filled(struct image *img, struct image_file *f, struct crcore_error *err)
{
	struct stream *s = img->stream;
	bool complete = false;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->nparts; i++) {
		if (s->parts[i].file != f)
			continue;
		complete = ++s->parts[i].filled == PART_BLOCKS;
		if (complete) {
			s->parts[i] = s->parts[--s->nparts];
			s->nsending++;
		}
		break;
	}
	pthread_mutex_unlock(&s->lock);
	return complete ? send_complete(img, f, err) : 0;
}

int stream_send_parts(struct image *img, struct crcore_error *err)
{
	struct stream *s = img->stream;
	int r = 0;

	while (r == 0 && s->nparts)
		r = send_part(img, s->parts[--s->nparts].file, err);
	return r;
}
