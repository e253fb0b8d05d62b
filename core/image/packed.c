/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed files: each block of IMAGE_BLOCK bytes is packed by itself, so that several
 * threads can write and read one file, and a page is found without unpacking what is
 * before it. The packed blocks lie one behind the other as they came; an index in the
 * manifest says where each is (Crcore__File.index). A block that does not shrink by at
 * least a sixteenth is kept plain: unpacking it would cost and gain nothing.
 *
 * Who reads a page here and a page there would unpack a block for each: a few blocks
 * are kept unpacked.
 */
#include <endian.h>
#include "core/image/image_priv.h"

#define KEPT_MAX 16 /* unpacked blocks; more than this many readers wait for each other */

struct kept {
	uint64_t block, last;   /* last: when it was used */
	unsigned users;
	enum { EMPTY, BEING_READ, READ } state;
	int r;
	unsigned char *bytes;
};

struct kept_blocks {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t clock;
	struct kept v[KEPT_MAX];
};

/* ---- writing ---------------------------------------------------------------------------- */

int image_set_packing(struct image *img, enum pack_codec codec, int level, struct crcore_error *err)
{
	img->codec = codec;
	return codec == PACK_PLAIN ? 0 : pack_open(codec, level, &img->packs[codec], err);
}

/* Room in the index and in the sums for block n; the caller has the lock. */
static int place_block(struct image_file *f, uint64_t n, size_t len, struct packed_block b,
                       uint64_t sum)
{
	if (n >= f->room_index) {
		uint64_t room = f->room_index ? 2 * f->room_index : 16;
		room = room > n ? room : n + 1;
		struct packed_block *p = realloc(f->index, room * sizeof(*p));
		if (!p)
			return -ENOMEM;
		memset(p + f->room_index, 0, (room - f->room_index) * sizeof(*p));
		f->index = p;
		f->room_index = room;
	}
	f->index[n] = (struct packed_block){ htole64(b.offset), htole32(b.len), htole32(b.codec) };
	if (n * IMAGE_BLOCK + len > f->unpacked)
		f->unpacked = n * IMAGE_BLOCK + len;
	f->hashed += len;
	return bulk_put_block(f, n, sum);
}

int packed_write(struct image *img, struct image_file *f, uint64_t block, const void *buf,
                 size_t len)
{
	struct pack *pack = img->packs[img->codec];
	cleanup_free void *packed = malloc(IMAGE_BLOCK);
	size_t n = packed ? pack_block(pack, buf, len, packed, len - len / 16) : 0;
	struct packed_block b = { 0, n ? (uint32_t)n : (uint32_t)len, n ? img->codec : PACK_PLAIN };
	const void *bytes = n ? packed : buf;
	uint64_t sum = checksum(bytes, b.len);

	pthread_mutex_lock(&img->lock);
	b.offset = f->end;
	f->end += b.len;
	pthread_mutex_unlock(&img->lock);
	int r = bulk_store(f, bytes, b.len, b.offset);
	if (r < 0)
		return r;
	pthread_mutex_lock(&img->lock);
	r = place_block(f, block, len, b, sum);
	pthread_mutex_unlock(&img->lock);
	return r;
}

/* ---- reading ---------------------------------------------------------------------------- */

static size_t unpacked_len(const struct image_file *f, uint64_t block)
{
	uint64_t left = f->unpacked - block * IMAGE_BLOCK;

	return left < IMAGE_BLOCK ? left : IMAGE_BLOCK;
}

void bulk_stored_at(const struct image_file *f, uint64_t block, uint64_t *ret_at, size_t *ret_len)
{
	uint64_t left = f->length - block * IMAGE_BLOCK;

	*ret_at = f->index ? le64toh(f->index[block].offset) : block * IMAGE_BLOCK;
	*ret_len = f->index ? le32toh(f->index[block].len) : left < IMAGE_BLOCK ? left : IMAGE_BLOCK;
}

const char *packed_parse(struct image_file *f, uint64_t unpacked, const void *index, size_t len)
{
	const uint64_t n = bulk_count(unpacked);
	uint64_t sum = 0;

	f->unpacked = unpacked;
	if (f->unpacked > INT64_MAX || len / sizeof(*f->index) != n || len % sizeof(*f->index))
		return "has an index of packed blocks that is of another length";
	f->index = malloc(len + 1);
	f->kept = calloc(1, sizeof(*f->kept));
	if (!f->index || !f->kept)
		return "needs too much memory";
	memcpy(f->index, index, len);
	pthread_mutex_init(&f->kept->lock, NULL);
	pthread_cond_init(&f->kept->changed, NULL);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = le64toh(f->index[i].offset);
		uint32_t b = le32toh(f->index[i].len), codec = le32toh(f->index[i].codec);
		if (codec >= PACK_CODECS || !b || at > f->length || b > f->length - at ||
		    (codec ? b >= unpacked_len(f, i) : b != unpacked_len(f, i)))
			return "has an index of packed blocks with a block that cannot be";
		f->codecs |= 1u << codec;
		sum += b;
	}
	return sum == f->length ? NULL : "has an index of packed blocks that misses some of the file";
}

int packed_ready(struct image *img, const struct image_file *f, struct crcore_error *err)
{
	int r = 0;

	for (enum pack_codec c = PACK_PLAIN + 1; r == 0 && c < PACK_CODECS; c++)
		if (f->codecs >> c & 1 && !img->packs[c])
			r = pack_open(c, 0, &img->packs[c], err);
	return r;
}

static int read_stored(const struct image *img, const struct image_file *f, void *to, size_t n,
                       uint64_t at)
{
	int fd = bulk_open(img, f);
	int r = fd < 0 ? fd : pread_all(fd, to, n, at);

	bulk_close(f, fd);
	return r;
}

static bool is_right(const struct image_file *f, uint64_t block, const void *stored, size_t n)
{
	return checksum(stored, n) == le64toh(f->blocks[block]);
}

static int unpack(const struct image *img, const struct image_file *f, uint64_t block, void *to,
                  bool check)
{
	enum pack_codec codec = le32toh(f->index[block].codec);
	uint64_t at;
	size_t n;

	bulk_stored_at(f, block, &at, &n);
	cleanup_free void *packed = codec == PACK_PLAIN ? NULL : malloc(n);
	void *stored = codec == PACK_PLAIN ? to : packed;
	int r = stored ? read_stored(img, f, stored, n, at) : -ENOMEM;
	if (r == 0 && check && !is_right(f, block, stored, n))
		return -EUCLEAN;
	if (r == 0 && packed && !unpack_block(img->packs[codec], packed, n, to, unpacked_len(f, block)))
		r = -EBADMSG;
	return r;
}

/* The slot that has the block, or the one to read it into, or none for now. */
static struct kept *find_slot(struct kept_blocks *k, uint64_t block)
{
	struct kept *best = NULL;

	for (unsigned i = 0; i < KEPT_MAX; i++) {
		struct kept *s = &k->v[i];
		if (s->state != EMPTY && s->block == block)
			return s;
		if (!s->users && (!best || s->last < best->last))
			best = s;
	}
	if (best)
		best->state = EMPTY;
	return best;
}

static struct kept *borrow(const struct image *img, const struct image_file *f, uint64_t block,
                           bool check)
{
	struct kept_blocks *k = f->kept;
	struct kept *s;

	pthread_mutex_lock(&k->lock);
	while (!(s = find_slot(k, block)))
		pthread_cond_wait(&k->changed, &k->lock);
	s->users++;
	s->last = ++k->clock;
	if (s->state == EMPTY) {
		s->block = block;
		s->state = BEING_READ;
		pthread_mutex_unlock(&k->lock);
		if (!s->bytes)
			s->bytes = malloc(IMAGE_BLOCK);
		int r = s->bytes ? unpack(img, f, block, s->bytes, check) : -ENOMEM;
		pthread_mutex_lock(&k->lock);
		s->r = r;
		s->state = READ;
		pthread_cond_broadcast(&k->changed);
	}
	while (s->state != READ)
		pthread_cond_wait(&k->changed, &k->lock);
	pthread_mutex_unlock(&k->lock);
	return s;
}

static void give_back(struct kept_blocks *k, struct kept *s)
{
	pthread_mutex_lock(&k->lock);
	s->users--;
	if (s->r < 0)
		s->state = s->users ? READ : EMPTY;
	pthread_cond_broadcast(&k->changed);
	pthread_mutex_unlock(&k->lock);
}

int bulk_read(const struct image *img, const struct image_file *f, uint64_t offset, void *buf,
              size_t len, bool check)
{
	int r = 0;

	if (!f->index)
		return read_stored(img, f, buf, len, offset);
	for (unsigned char *to = buf; r == 0 && len;) {
		uint64_t block = offset / IMAGE_BLOCK, skip = offset % IMAGE_BLOCK;
		size_t n = unpacked_len(f, block) - skip;

		n = n < len ? n : len;
		if (n == unpacked_len(f, block)) {
			r = unpack(img, f, block, to, check);
		} else {
			struct kept *s = borrow(img, f, block, check);
			r = s->r;
			if (r == 0)
				memcpy(to, s->bytes + skip, n);
			give_back(f->kept, s);
		}
		to += n;
		offset += n;
		len -= n;
	}
	return r;
}

void packed_free(struct image_file *f)
{
	if (f->kept) {
		for (unsigned i = 0; i < KEPT_MAX; i++)
			free(f->kept->v[i].bytes);
		pthread_mutex_destroy(&f->kept->lock);
		pthread_cond_destroy(&f->kept->changed);
	}
	free(f->kept);
	free(f->index);
}
