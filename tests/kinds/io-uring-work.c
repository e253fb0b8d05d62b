/* SPDX-License-Identifier: Apache-2.0 */
/* io_uring at work: three threads write to a file and read it back, each by a ring of its own
 * and one that they share, some of it by workers of the kernel; another waits for a
 * completion all the while. None sees EINTR. The first thread's ring is for it alone. */
#include "uring.h"
#include <pthread.h>

#define DEPTH 8
#define BLOCK 4096
#define WORKERS 2

static struct uring idle, shared;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int file;

/* The kernel itself shows the interruption if crcore is killed before it can hide it. */
static bool interrupted(int result)
{
	return result < 0 && errno == EINTR && !access(kind_path("killing"), F_OK);
}

/* Waits until n completions are there. */
static void await(struct uring *u, unsigned n)
{
	while (uring_ready(u) < n) {
		int result = uring_enter(u, 0, n, IORING_ENTER_GETEVENTS);
		CHECK(result >= 0 || interrupted(result));
	}
}

static void transfer(struct uring *u, int op, char *blocks, off_t at, unsigned round)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < DEPTH; i++) {
		struct io_uring_sqe *sqe = uring_next(u, op, 1);
		sqe->fd = file;
		sqe->addr = (uintptr_t)(blocks + i * BLOCK);
		sqe->len = BLOCK;
		sqe->off = (uint64_t)at + i * BLOCK;
		sqe->flags = (round + i) % 3 ? 0 : IOSQE_ASYNC; /* by a worker */
	}
	CHECK_EQ(uring_enter(u, DEPTH, DEPTH, IORING_ENTER_GETEVENTS), DEPTH);
	await(u, DEPTH);
	for (unsigned i = 0; i < DEPTH; i++)
		bytes += (uint64_t)uring_take(u, 1);
	CHECK_EQ(bytes, DEPTH * BLOCK);
}

/* Writes blocks that differ in each round, and reads them back. */
static void round_trip(struct uring *u, char *blocks, off_t at, unsigned round)
{
	for (unsigned i = 0; i < DEPTH * BLOCK; i++)
		blocks[i] = (char)(i * 7 + round + (unsigned)at);
	transfer(u, IORING_OP_WRITE, blocks, at, round);
	memset(blocks, 0, DEPTH * BLOCK);
	transfer(u, IORING_OP_READ, blocks, at, round);
	for (unsigned i = 0; i < DEPTH * BLOCK; i++)
		if (blocks[i] != (char)(i * 7 + round + (unsigned)at))
			kind_fail("round %u: byte %u is another", round, i);
}

static void *work(void *arg)
{
	off_t at = (off_t)(uintptr_t)arg * DEPTH * BLOCK;
	char *blocks = aligned_alloc(BLOCK, DEPTH * BLOCK);
	unsigned before, round;
	struct uring own;

	CHECK(blocks && uring_open(&own, DEPTH, 0, arg ? 0 : URING_ONE_THREAD));
	for (round = 0; !kind_over(); round++) {
		round_trip(&own, blocks, at, round);
		pthread_mutex_lock(&lock);
		round_trip(&shared, blocks, at, ~round);
		pthread_mutex_unlock(&lock);
	}
	for (before = round; round < before + 10; round++)
		round_trip(&own, blocks, at, round);
	free(blocks);
	return NULL;
}

static void *wait_idle(void *arg)
{
	int result;

	do
		result = uring_enter(&idle, 0, 1, IORING_ENTER_GETEVENTS);
	while (interrupted(result));
	CHECK_EQ(result, 0);
	CHECK_EQ(uring_take(&idle, 99), 0);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t worker[WORKERS], waiter;

	kind_init(argc, argv);
	if (!uring_open(&idle, 2, 0, 0))
		kind_skip("no io_uring: %s", strerror(errno));
	CHECK(uring_open(&shared, DEPTH, 0, IORING_SETUP_COOP_TASKRUN));
	file = open(kind_path("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(file >= 0);
	CHECK(!pthread_create(&waiter, NULL, wait_idle, NULL));
	for (uintptr_t i = 0; i < WORKERS; i++)
		CHECK(!pthread_create(&worker[i], NULL, work, (void *)(i + 1)));
	kind_busy();
	kind_announce();
	work(NULL);
	for (int i = 0; i < WORKERS; i++)
		CHECK(!pthread_join(worker[i], NULL));
	uring_next(&idle, IORING_OP_NOP, 99);
	CHECK_EQ(uring_enter(&idle, 1, 0, 0), 1);
	CHECK(!pthread_join(waiter, NULL));
	kind_pass();
}
