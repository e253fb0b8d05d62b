/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring is memory that the kernel writes frames to and a program reads them from, each with
 * a word that says whose turn it is (Documentation/networking/packet_mmap.rst of the kernel). Both
 * go through it in order, so what must be known is how far the kernel has got. It does not tell,
 * but what it left behind does: of versions 1 and 2 whose turn it is, and the times of the
 * frames, the oldest of which is next; of version 3 the numbers of the blocks, the highest of
 * which is being written to.
 */
#include "packet.h"

#include <sys/mman.h>

#define RING_MAX (4ull << 30)

uint64_t ring_length(const Packet__Ring *r)
{
	return (uint64_t)r->block_size * r->blocks;
}

bool ring_is_sane(const Packet__Ring *r)
{
	return r->version <= TPACKET_V3 && r->frame_size >= TPACKET2_HDRLEN && r->blocks &&
	       r->block_size >= r->frame_size && r->private_size < r->block_size / 2 &&
	       r->frames == (uint64_t)(r->block_size / r->frame_size) * r->blocks &&
	       r->position < (r->version == TPACKET_V3 ? r->blocks : r->frames) &&
	       ring_length(r) <= RING_MAX;
}

int ring_map(struct ring *ret, Packet__Ring *rec, int fd, int prot, struct crcore_error *err)
{
	*ret = (struct ring){ .rec = rec, .len = ring_length(rec) };
	ret->map = mmap(NULL, ret->len, prot, MAP_SHARED, fd, 0);
	if (ret->map == MAP_FAILED)
		return crcore_fail(err, -errno, "its ring cannot be mapped: %s", strerror(errno));
	return 0;
}

void ring_unmap(struct ring *r)
{
	munmap(r->map, r->len);
}

struct tpacket_block_desc *ring_block(const struct ring *r, unsigned i)
{
	return (void *)(r->map + (size_t)i * r->rec->block_size);
}

static void *frame(const struct ring *r, unsigned i)
{
	unsigned each = r->rec->block_size / r->rec->frame_size;

	return (char *)ring_block(r, i / each) + (size_t)(i % each) * r->rec->frame_size;
}

/* What is handed over in one piece. */
static unsigned pieces(const struct ring *r)
{
	return r->rec->version == TPACKET_V3 ? r->rec->blocks : r->rec->frames;
}

/* Whose turn it is; a word of 8 bytes in version 1, of which the lower half says all. */
static volatile uint32_t *status(const struct ring *r, unsigned i)
{
	if (r->rec->version == TPACKET_V3)
		return &ring_block(r, i)->hdr.bh1.block_status;
	return frame(r, i); /* the first of its header */
}

bool ring_waits(const struct ring *r, unsigned i)
{
	return *status(r, i) & TP_STATUS_USER;
}

static uint64_t time_of(const struct ring *r, unsigned i)
{
	const struct tpacket_hdr *v1 = frame(r, i);
	const struct tpacket2_hdr *v2 = frame(r, i);

	return r->rec->version == TPACKET_V1 ? (uint64_t)v1->tp_sec << 32 | v1->tp_usec
	                                     : (uint64_t)v2->tp_sec << 32 | v2->tp_nsec;
}

/* Frames that wait lie in one row, behind which the kernel goes on. */
static unsigned ends_of_rows(const struct ring *r, unsigned *ret)
{
	const unsigned n = r->rec->frames;
	unsigned found = 0;

	for (unsigned i = 0; i < n; i++)
		if (ring_waits(r, i) && !ring_waits(r, (i + 1) % n)) {
			*ret = (i + 1) % n;
			found++;
		}
	return found;
}

/* If the next one is older, all before it are younger. */
static unsigned steps_back(const struct ring *r, unsigned *ret)
{
	const unsigned n = r->rec->frames;
	unsigned found = 0;
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		any |= time_of(r, i);
		if (time_of(r, i) > time_of(r, (i + 1) % n)) {
			*ret = (i + 1) % n;
			found++;
		}
	}
	if (any)
		return found;
	*ret = 0;
	return 1; /* there never was one */
}

static int find_frame(const struct ring *r, struct crcore_error *err)
{
	unsigned at = 0;

	if (ends_of_rows(r, &at) != 1 && steps_back(r, &at) != 1) {
		crcore_advise(err, "dump again when the program has read some frames more");
		return crcore_fail(err, -ENOTSUP, "how far the kernel has got in its ring cannot be told "
		                   "from the times of the frames");
	}
	r->rec->position = at;
	return 0;
}

/* What the kernel has not handed over yet would have to be put together again. */
static int find_block(const struct ring *r, bool drop, struct crcore_error *err)
{
	const unsigned n = r->rec->blocks;
	unsigned last = 0;

	for (unsigned i = 1; i < n; i++)
		if (ring_block(r, i)->hdr.bh1.seq_num > ring_block(r, last)->hdr.bh1.seq_num)
			last = i;
	const struct tpacket_hdr_v1 *h = &ring_block(r, last)->hdr.bh1;
	const bool full = h->block_status & TP_STATUS_USER;
	r->rec->position = full ? (last + 1) % n : last;
	if (drop || (!full && !h->num_pkts))
		return 0;
	crcore_advise(err, "dump again when they have been read, or set packet.queued to drop");
	return crcore_fail(err, -ENOTSUP, full ? "its ring is full of frames that wait" :
	                   "frames wait in a block of its ring that the kernel has not closed yet");
}

/*
 * The kernel goes on writing while we look. What it hands over after we have found where it is
 * came after the image's moment.
 */
int ring_take(const struct ring *live, bool drop, char **ret, struct crcore_error *err)
{
	const unsigned n = pieces(live);
	struct ring copy = *live;
	unsigned row = 0;
	int r = live->rec->version == TPACKET_V3 ? find_block(live, drop, err) : find_frame(live, err);

	if (r < 0)
		return r;
	const unsigned at = live->rec->position;
	while (row < n && ring_waits(live, (at + n - row - 1) % n))
		row++;
	copy.map = malloc(copy.len);
	if (!copy.map)
		return crcore_no_memory(err);
	memcpy(copy.map, live->map, copy.len);
	for (unsigned i = 0; i < n - row; i++)
		*status(&copy, (at + i) % n) = TP_STATUS_KERNEL;
	*ret = copy.map;
	return 0;
}
