/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new ring begins at its first frame, and the kernel cannot be told otherwise. So it is sent
 * frames of our own, of a type for experiments (IEEE 802, 0x88b6) through the loopback interface,
 * until it has got as far as the old one had. Then what was in that is copied over them.
 *
 * Of version 3 the frame that no longer fitted in the block before is the first in the block
 * that is open then. It is passed over: the number of frames in a block, and where the first is,
 * are words in the block itself, which the kernel goes on with.
 */
#include "packet.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <sys/mman.h>

#define OUR_TYPE 0x88b6
#define LENGTH_MAX 60000 /* what the loopback interface takes */
#define FRAMES_OF_BLOCK 16 /* about as many fill one, if it is not larger than a MiB */
#define TRIES 10
#define WAITS 5000       /* at most, until a frame that was sent has come in, each: */
#define WAIT_US 100

struct sender {
	int fd;
	struct sockaddr_ll to;
	char frame[LENGTH_MAX];
	size_t len;
	uint64_t sent;
};

static int set_ring(int fd, const Packet__Ring *rec, struct crcore_error *err)
{
	const int version = (int)rec->version;
	const struct tpacket_req3 q = {
		.tp_block_size = rec->block_size, .tp_block_nr = rec->blocks,
		.tp_frame_size = rec->frame_size, .tp_frame_nr = rec->frames,
		.tp_retire_blk_tov = rec->timeout, .tp_sizeof_priv = rec->private_size,
		.tp_feature_req_word = rec->features,
	};
	const socklen_t len = version == TPACKET_V3 ? sizeof(q) : sizeof(struct tpacket_req);

	if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &q, len) < 0)
		return crcore_fail(err, -errno, "cannot give it a ring of %u blocks of %u bytes: %s",
		                   rec->blocks, rec->block_size, strerror(errno));
	return 0;
}

static int listen_to_us(int fd, struct sender *s, const Packet__Ring *rec, struct crcore_error *err)
{
	const uint32_t len = rec->version == TPACKET_V3 ? rec->block_size / FRAMES_OF_BLOCK : 0;

	s->len = len > LENGTH_MAX ? LENGTH_MAX : len < ETH_ZLEN ? ETH_ZLEN : len;
	s->frame[ETH_ALEN * 2] = (char)(OUR_TYPE >> 8);
	s->frame[ETH_ALEN * 2 + 1] = (char)(OUR_TYPE & 0xff);
	s->to = (struct sockaddr_ll){ .sll_family = AF_PACKET, .sll_protocol = htons(OUR_TYPE),
		                      .sll_ifindex = (int)if_nametoindex("lo"), .sll_halen = ETH_ALEN };
	s->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || bind(fd, (struct sockaddr *)&s->to, sizeof(s->to)) < 0)
		return crcore_fail(err, -errno, "cannot use the interface lo: %s", strerror(errno));
	return 0;
}

/* What has come in, as far as one block of version 3 tells. */
static unsigned frames_in(const struct ring *r, unsigned block)
{
	return *(volatile uint32_t *)&ring_block(r, block)->hdr.bh1.num_pkts;
}

/* Sends one and waits until it is in the frame, or block, or has closed that. */
static int send_one(struct sender *s, const struct ring *r, unsigned i, struct crcore_error *err)
{
	const bool v3 = r->rec->version == TPACKET_V3;
	const unsigned before = v3 ? frames_in(r, i) : 0;

	if (sendto(s->fd, s->frame, s->len, 0, (struct sockaddr *)&s->to, sizeof(s->to)) < 0) {
		int e = errno;
		crcore_advise(err, "set up the interface lo");
		return crcore_fail(err, -e, "cannot send through the interface lo: %s", strerror(e));
	}
	s->sent++;
	/* mostly it is there when the call returns */
	for (unsigned k = 0; k < WAITS; k++) {
		if (ring_waits(r, i) || (v3 && frames_in(r, i) != before))
			return 0;
		usleep(WAIT_US);
	}
	return crcore_fail(err, -EIO, "the kernel does not write to its ring");
}

/* A frame each, or as many as fill a block. */
static int pass(struct sender *s, const struct ring *r, unsigned i, struct crcore_error *err)
{
	int e = 0;

	while (!e && !ring_waits(r, i))
		e = send_one(s, r, i, err);
	return e;
}

/* False: the time of an open block ran out meanwhile, so the kernel is one further. */
static bool pass_over_ours(const struct sender *s, const struct ring *r)
{
	const unsigned at = r->rec->position;
	struct tpacket_hdr_v1 *h = &ring_block(r, at)->hdr.bh1;
	uint64_t come = 0;

	for (unsigned k = 0; k < WAITS && come != s->sent; k++) {
		if (k)
			usleep(WAIT_US);
		come = 0;
		for (unsigned i = 0; i <= at; i++)
			come += frames_in(r, i);
	}
	if (come != s->sent || ring_waits(r, at))
		return false;
	h->offset_to_first_pkt = h->blk_len; /* where the next will be */
	__atomic_store_n(&h->num_pkts, 0, __ATOMIC_SEQ_CST);
	return !ring_waits(r, at);
}

/* From here on nothing comes in. */
static int close_off(int fd, struct crcore_error *err)
{
	struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog prog = { 1, &none };
	struct tpacket_stats_v3 counted;
	socklen_t len = sizeof(counted);

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0)
		return crcore_fail(err, -errno, "cannot give it a filter: %s", strerror(errno));
	getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &counted, &len); /* and begin anew */
	return 0;
}

/* Numbers of blocks begin anew: those before the open one have those before its own. */
static void fill_blocks(const struct ring *r, const char *bytes)
{
	const unsigned at = r->rec->position;

	for (unsigned i = 0; i < r->rec->blocks; i++) {
		struct tpacket_block_desc *b = ring_block(r, i);
		const size_t skip = sizeof(*b), size = r->rec->block_size;
		const char *from = bytes + (size_t)i * size;
		if (i == at) {
			memcpy((char *)b + skip, from + skip, r->rec->private_size);
			continue;
		}
		memcpy(b, from, size);
		b->hdr.bh1.seq_num = i < at ? i + 1 : 0;
	}
}

static int send_past(struct sender *s, int fd, const struct ring *r, struct crcore_error *err)
{
	int e = listen_to_us(fd, s, r->rec, err);

	for (unsigned i = 0; !e && i < r->rec->position; i++)
		e = pass(s, r, i, err);
	/* at once: to close a packet socket takes longer than the time that a block stays open */
	if (!e && r->rec->version == TPACKET_V3 && !pass_over_ours(s, r))
		e = -EAGAIN;
	return !e ? close_off(fd, err) : e;
}

static int advance(int fd, const struct ring *r, const char *bytes, struct crcore_error *err)
{
	cleanup_free struct sender *s = calloc(1, sizeof(*s));

	if (!s)
		return crcore_no_memory(err);
	s->fd = -1;
	int e = r->rec->position ? send_past(s, fd, r, err) : 0;
	if (s->fd >= 0)
		close(s->fd);
	if (e < 0)
		return e;
	if (r->rec->version == TPACKET_V3)
		fill_blocks(r, bytes);
	else
		memcpy(r->map, bytes, r->len);
	return 0;
}

/* A ring that is given up is made anew, from its beginning. */
static int try(int fd, Packet__Ring *rec, const char *bytes, struct crcore_error *err)
{
	const struct tpacket_req3 none = { 0 };
	struct ring r;
	int e = set_ring(fd, rec, err);

	if (e < 0 || (e = ring_map(&r, rec, fd, PROT_READ | PROT_WRITE, err)) < 0)
		return e;
	e = advance(fd, &r, bytes, err);
	ring_unmap(&r);
	if (e == -EAGAIN)
		setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &none, sizeof(none));
	return e;
}

int ring_make(int fd, Packet__Ring *rec, const char *bytes, struct crcore_error *err)
{
	const int any = 0;
	int r = -EAGAIN;

	for (unsigned i = 0; r == -EAGAIN && i < TRIES; i++) {
		r = try(fd, rec, bytes, err);
		setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &any, sizeof(any)); /* see close_off() */
	}
	if (r != -EAGAIN)
		return r;
	crcore_advise(err, "restore when the machine is less busy");
	return crcore_fail(err, r, "blocks of its ring are handed over faster than they can be filled");
}
