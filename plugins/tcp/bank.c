/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that wait: in flight in a socket pair, where they count against no
 * limit of this process. They come out in the order in which they went in. The bank is
 * in shared memory: should we be killed, the process that ends our work (plugin.h, undo)
 * goes on with the one that we were at, wherever that was. So a message is looked at, noted
 * and only then taken out, each step by one store; messages have numbers, to tell one that is
 * still there although it was noted.
 */
#include "plugins/tcp/bank.h"
#include "plugins/tcp/tcp.h"

#include <sys/mman.h>

#define BATCH 200 /* of descriptors that one message takes */
#define LAST UINT_MAX

/* Those in our hands. */
struct hand {
	unsigned from, n;      /* the first one's number, how many */
	unsigned message;      /* that they came with; LAST: they were not in flight yet */
	int fd[BATCH];
};

struct bank {
	int pair[2];
	int batch[BATCH];      /* not in flight yet */
	int n;
	unsigned sent;         /* messages */
	struct hand hand[2];
	unsigned now;          /* which of the two */
	unsigned dropped;
};

struct bank *bank_new(void)
{
	struct bank *b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	                      0);

	if (b == MAP_FAILED)
		return NULL;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, b->pair) == 0)
		return b;
	munmap(b, sizeof(*b));
	return NULL;
}

static int flush(struct bank *b)
{
	char control[CMSG_SPACE(BATCH * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	size_t len = (size_t)b->n * sizeof(int);
	struct iovec io = { &b->sent, sizeof(b->sent) };
	struct msghdr h = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = CMSG_SPACE(len) };
	struct cmsghdr *c = (struct cmsghdr *)(void *)control;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), b->batch, len);
	if (sendmsg(b->pair[0], &h, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	b->sent++;
	while (b->n)
		close(b->batch[--b->n]);
	return 0;
}

int bank_put(struct bank *b, int fd)
{
	int r = b->n == BATCH ? flush(b) : 0;

	if (r < 0)
		close(fd);
	else
		b->batch[b->n++] = fd;
	return r;
}

/* Looks at the first message in flight, which stays there. False: there is none. */
static bool look(struct bank *b, struct hand *h)
{
	char control[CMSG_SPACE(BATCH * sizeof(int))] __attribute__((aligned(8)));
	struct iovec io = { &h->message, sizeof(h->message) };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c;

	if (recvmsg(b->pair[1], &m, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
		return false;
	c = CMSG_FIRSTHDR(&m);
	h->n = c && c->cmsg_type == SCM_RIGHTS ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
	memcpy(h->fd, CMSG_DATA(c), h->n * sizeof(int));
	return true;
}

/* Without what came with it. */
static void take_out(struct bank *b)
{
	unsigned message;

	if (recv(b->pair[1], &message, sizeof(message), MSG_DONTWAIT) < 0)
		return;
}

/* The next ones that are in flight, then those that are not. False: there are none. */
static bool refill(struct bank *b)
{
	const struct hand *last = &b->hand[b->now];
	struct hand *h = &b->hand[!b->now];
	bool any;

	if (last->message == LAST)
		return false;
	while ((any = look(b, h)) && last->n && h->message <= last->message) {
		for (unsigned i = 0; i < h->n; i++)
			close(h->fd[i]);
		take_out(b);
	}
	if (!any) {
		memcpy(h->fd, b->batch, sizeof(h->fd));
		h->n = (unsigned)b->n;
		h->message = LAST;
	}
	h->from = b->dropped;
	__atomic_store_n(&b->now, !b->now, __ATOMIC_SEQ_CST);
	if (any)
		take_out(b);
	return true;
}

unsigned bank_next(struct bank *b, const int **ret)
{
	const struct hand *h;

	do {
		h = &b->hand[b->now];
		*ret = h->fd + (b->dropped - h->from);
		if (b->dropped - h->from < h->n)
			return h->n - (b->dropped - h->from);
	} while (refill(b));
	return 0;
}

void bank_leave(struct bank *b, unsigned n)
{
	__atomic_store_n(&b->dropped, b->dropped + n, __ATOMIC_SEQ_CST);
}

void bank_drop(struct bank *b)
{
	const int *fd;

	if (!bank_next(b, &fd))
		return;
	bank_leave(b, 1);
	close(*fd);
}

unsigned bank_dropped(const struct bank *b) { return b->dropped; }

void bank_free(struct bank *b)
{
	const int *next;

	if (!b)
		return;
	while (bank_next(b, &next))
		bank_drop(b);
	close(b->pair[0]);
	close(b->pair[1]);
	munmap(b, sizeof(*b));
}
