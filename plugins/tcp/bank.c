/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that wait: in flight in a socket pair, where they count against no
 * limit of this process. They come out in the order in which they went in.
 */
#include "plugins/tcp/tcp.h"

struct bank {
	int pair[2];
	int batch[BANK_BATCH]; /* not in flight yet */
	int n;
};

struct bank *bank_new(void)
{
	struct bank *b = calloc(1, sizeof(*b));

	if (b && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, b->pair) == 0)
		return b;
	free(b);
	return NULL;
}

static int flush(struct bank *b)
{
	char control[CMSG_SPACE(BANK_BATCH * sizeof(int))] __attribute__((aligned(8))) = { 0 };
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
	int r = b->n == BANK_BATCH ? flush(b) : 0;

	if (r < 0)
		close(fd);
	else
		b->batch[b->n++] = fd;
	return r;
}

int bank_take(struct bank *b, int fds[BANK_BATCH])
{
	char control[CMSG_SPACE(BANK_BATCH * sizeof(int))] __attribute__((aligned(8))), byte;
	struct iovec io = { &byte, 1 };
	struct msghdr h = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	int n = b->n;

	if (recvmsg(b->pair[1], &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0) { /* the last ones */
		memcpy(fds, b->batch, sizeof(b->batch));
		b->n = 0;
		return n;
	}
	c = CMSG_FIRSTHDR(&h);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return 0;
	memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
}

void bank_free(struct bank *b)
{
	if (!b)
		return;
	while (b->n)
		close(b->batch[--b->n]);
	close(b->pair[0]);
	close(b->pair[1]);
	free(b);
}
