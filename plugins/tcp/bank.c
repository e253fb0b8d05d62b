/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that wait: in flight in a socket pair, where they count against no
 * limit of this process. They come out in the order in which they went in. The bank is
 * in shared memory: should we be killed, the process that ends our work (plugin.h, undo)
 * goes on with the one that we were at.
 */
#include "plugins/tcp/tcp.h"

#include <sys/mman.h>

#define BATCH 200 /* of descriptors that one message takes */

struct bank {
	int pair[2];
	int batch[BATCH];      /* not in flight yet */
	int n;
	int out[BATCH];        /* not in flight any more */
	int nout;
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
	struct iovec io = { &(char){ 0 }, 1 };
	struct msghdr h = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = CMSG_SPACE(len) };
	struct cmsghdr *c = (struct cmsghdr *)(void *)control;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), b->batch, len);
	if (sendmsg(b->pair[0], &h, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
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

/* The next ones that are in flight, then those that are not. */
static void refill(struct bank *b)
{
	char control[CMSG_SPACE(BATCH * sizeof(int))] __attribute__((aligned(8))), byte;
	struct iovec io = { &byte, 1 };
	struct msghdr h = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c;

	if (recvmsg(b->pair[1], &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) > 0) {
		c = CMSG_FIRSTHDR(&h);
		if (!c || c->cmsg_type != SCM_RIGHTS)
			return;
		memcpy(b->out, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
		b->nout = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		return;
	}
	memcpy(b->out, b->batch, sizeof(b->out));
	b->nout = b->n;
	b->n = 0;
}

int bank_first(struct bank *b)
{
	if (!b->nout)
		refill(b);
	return b->nout ? b->out[0] : -1;
}

void bank_drop(struct bank *b)
{
	close(b->out[0]);
	memmove(b->out, b->out + 1, (size_t)--b->nout * sizeof(int));
	b->dropped++;
}

unsigned bank_dropped(const struct bank *b) { return b->dropped; }

void bank_free(struct bank *b)
{
	if (!b)
		return;
	while (bank_first(b) >= 0)
		bank_drop(b);
	close(b->pair[0]);
	close(b->pair[1]);
	munmap(b, sizeof(*b));
}
