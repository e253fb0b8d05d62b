/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings of packet sockets, of all three versions: where reader and kernel are in one, the frames
 * that wait in it, and that it goes on, several times around.
 */
#include "kind.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { BLOCK = 1 << 15, BLOCKS = 8, FRAME = 2048, LENGTH = 1000 };

struct reader {
	int fd, version;
	char *ring;
	size_t at;       /* frame, or block */
	unsigned next;   /* number of the frame that must come next */
};

/* One of each version, for the same frames. */
struct set {
	uint16_t protocol;
	unsigned before; /* frames that have been read: the kernel is in the middle, or has been around */
	unsigned waits;  /* that have not */
	unsigned sent;
	struct reader v[3];
};

static int sender;

static struct sockaddr_ll address(const struct set *s)
{
	return (struct sockaddr_ll){ .sll_family = AF_PACKET, .sll_protocol = htons(s->protocol),
		.sll_ifindex = (int)if_nametoindex("lo"), .sll_halen = 6 };
}

static void send_more(struct set *s, unsigned n)
{
	const struct sockaddr_ll to = address(s);
	unsigned frame[LENGTH / sizeof(unsigned)] = { 0 };

	for (unsigned end = s->sent + n; s->sent < end; s->sent++) {
		frame[0] = s->sent;
		CHECK_EQ(sendto(sender, frame, LENGTH, 0, (const void *)&to, sizeof(to)), LENGTH);
	}
}

static void start(struct reader *r, const struct set *s, int version)
{
	const struct sockaddr_ll from = address(s);
	struct tpacket_req3 q = { .tp_block_size = BLOCK, .tp_block_nr = BLOCKS, .tp_frame_size = FRAME,
		.tp_frame_nr = BLOCK / FRAME * BLOCKS, .tp_retire_blk_tov = 20 };
	socklen_t len = version == TPACKET_V3 ? sizeof(q) : sizeof(struct tpacket_req);

	*r = (struct reader){ .version = version, .fd = socket(AF_PACKET, SOCK_DGRAM, 0) };
	CHECK(r->fd >= 0);
	CHECK(!setsockopt(r->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)));
	CHECK(!setsockopt(r->fd, SOL_PACKET, PACKET_RX_RING, &q, len));
	r->ring = mmap(NULL, BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	CHECK(r->ring != MAP_FAILED);
	CHECK(!bind(r->fd, (const void *)&from, sizeof(from)));
}

static void take(struct reader *r, const void *data)
{
	unsigned number;

	memcpy(&number, data, sizeof(number));
	CHECK_EQ(number, r->next);
	r->next++;
}

/* All frames before that number; of version 3 a block may have more. */
static void read_until(struct reader *r, unsigned end)
{
	int64_t limit = kind_now_ms() + 10000;

	while (r->next < end) {
		char *p = r->ring + r->at * (r->version == TPACKET_V3 ? BLOCK : FRAME);
		volatile uint32_t *status = r->version == TPACKET_V3 ?
			&((struct tpacket_block_desc *)(void *)p)->hdr.bh1.block_status : (void *)p;
		if (!(*status & TP_STATUS_USER)) {
			if (kind_now_ms() > limit)
				kind_fail("version %d: nothing in piece %zu, frame %u", r->version + 1, r->at, r->next);
			kind_sleep_ms(1);
			continue;
		}
		if (r->version == TPACKET_V1) {
			take(r, p + ((struct tpacket_hdr *)(void *)p)->tp_net);
		} else if (r->version == TPACKET_V2) {
			take(r, p + ((struct tpacket2_hdr *)(void *)p)->tp_net);
		} else {
			struct tpacket_hdr_v1 *h = &((struct tpacket_block_desc *)(void *)p)->hdr.bh1;
			char *f = p + h->offset_to_first_pkt;
			for (unsigned i = 0; i < h->num_pkts; i++) {
				struct tpacket3_hdr *x = (void *)f;
				take(r, f + x->tp_net);
				f += x->tp_next_offset;
			}
		}
		*status = TP_STATUS_KERNEL;
		r->at = (r->at + 1) % (r->version == TPACKET_V3 ? BLOCKS : BLOCK / FRAME * BLOCKS);
	}
}

static void read_all(struct set *s)
{
	for (int i = 0; i < 3; i++)
		read_until(&s->v[i], s->sent);
}

int main(int argc, char **argv)
{
	struct set sets[] = { { 0x9101, 37, 0 }, { 0x9102, 0, 0 }, { 0x9103, 500, 0 },
		{ 0x9104, 53, 20 }, { 0x9105, 0, 20 } };
	enum { SETS = sizeof(sets) / sizeof(*sets) };

	kind_init(argc, argv);
	sender = socket(AF_PACKET, SOCK_DGRAM, 0);
	CHECK(sender >= 0);
	for (struct set *s = sets; s < sets + SETS; s++) {
		for (int i = 0; i < 3; i++)
			start(&s->v[i], s, (int[]){ TPACKET_V1, TPACKET_V2, TPACKET_V3 }[i]);
		for (unsigned n; s->sent < s->before; read_all(s)) {
			n = s->before - s->sent;
			send_more(s, n < 50 ? n : 50);
		}
		send_more(s, s->waits);
	}
	kind_sleep_ms(200); /* until the kernel has handed over the last blocks */
	kind_ready();

	for (struct set *s = sets; s < sets + SETS; s++) {
		read_all(s);
		for (int round = 0; round < 8; round++) {
			send_more(s, 40);
			read_all(s);
		}
	}
	kind_pass();
}
