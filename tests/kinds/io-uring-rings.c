/* SPDX-License-Identifier: Apache-2.0 */
/* io_uring: rings of many sorts with nothing in flight. Their counters, completions that were
 * not taken, requests that were not submitted; and that they go on working. */
#include "uring.h"

#define NO_SQARRAY (1u << 16)
#define OP_MSG_RING 40
#define TOLD 16384

static struct uring plain, wide, silent, large, twice, dropped, shared, array, disabled, sender, mine;
static struct {
	struct uring *u;
	char before[TOLD];
} all[] = {
	{ &plain, "" }, { &wide, "" }, { &silent, "" }, { &large, "" }, { &twice, "" },
	{ &dropped, "" }, { &shared, "" }, { &array, "" }, { &disabled, "" }, { &sender, "" },
	{ &mine, "" },
};

/* Five completions that are not taken, three requests that are not submitted. */
static void leave_some(struct uring *u)
{
	uring_spend(u, 11, 0);
	for (unsigned i = 0; i < 6; i++)
		uring_next(u, IORING_OP_NOP, 100 + i);
	CHECK_EQ(uring_enter(u, 6, 0, 0), 6);
	CHECK_EQ(uring_take(u, 100), 0);
	for (unsigned i = 0; i < 3; i++)
		uring_next(u, IORING_OP_NOP, 200 + i);
}

static void take_them(struct uring *u)
{
	for (unsigned i = 1; i < 6; i++)
		CHECK_EQ(uring_take(u, 100 + i), 0);
	CHECK_EQ(uring_ready(u), 0);
	CHECK_EQ(uring_enter(u, 3, 3, IORING_ENTER_GETEVENTS), 3);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(uring_take(u, 200 + i), 0);
}

static void open_large(void)
{
	CHECK(uring_open(&large, 1024, 0, IORING_SETUP_SUBMIT_ALL));
	for (unsigned i = 0; i < 77; i++) {
		for (unsigned k = 0; k < 1001; k++)
			uring_next(&large, IORING_OP_NOP, 1);
		CHECK_EQ(uring_enter(&large, 1001, 0, 0), 1001);
		for (unsigned k = 0; k < 1001; k++)
			uring_take(&large, 1);
	}
}

/* Full of completions for which it has submitted nothing. */
static void open_twice(void)
{
	CHECK(uring_open(&sender, 4, 0, 0));
	CHECK(uring_open(&twice, 2, 16, 0));
	uring_spend(&twice, 3, 0);
	for (unsigned i = 0; i < 21; i++) {
		struct io_uring_sqe *sqe = uring_next(&sender, OP_MSG_RING, 7);
		sqe->fd = twice.fd;
		sqe->off = 300 + i;
		CHECK_EQ(uring_do(&sender, 7), 0);
		if (i < 5)
			CHECK_EQ(uring_take(&twice, 300 + i), 0);
	}
	CHECK_EQ(uring_ready(&twice), 16);
}

/* Entries that lead nowhere. */
static void open_dropped(void)
{
	CHECK(uring_open(&dropped, 4, 0, 0));
	uring_spend(&dropped, 6, 0);
	for (unsigned i = 0; i < 5; i++) {
		uint32_t at = dropped.sq_tail & 3;
		uring_next(&dropped, IORING_OP_NOP, 0);
		uring_word(&dropped, dropped.p.sq_off.array)[at] = 4711;
		CHECK_EQ(uring_enter(&dropped, 1, 0, 0), 0);
	}
	CHECK_EQ(*uring_word(&dropped, dropped.p.sq_off.dropped), 5);
}

/* The completions, mapped a second time as old libraries do. */
static const char *again;

static int use_shared(void *arg)
{
	kind_wait();
	uring_next(&shared, IORING_OP_NOP, 55);
	CHECK_EQ(uring_do(&shared, 55), 0);
	return 0;
}

static void set_up(void)
{
	if (!uring_open(&plain, 8, 0, 0))
		kind_skip("no io_uring: %s", strerror(errno));
	leave_some(&plain);
	CHECK(!madvise(plain.sqes, 8 * 64, MADV_DONTFORK));
	CHECK(uring_open(&wide, 8, 0, IORING_SETUP_SQE128 | IORING_SETUP_CQE32));
	leave_some(&wide);
	again = mmap(NULL, 4096, PROT_READ, MAP_SHARED, wide.fd, IORING_OFF_CQ_RING);
	CHECK(again != MAP_FAILED);
	CHECK(uring_open(&silent, 4, 32, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG));
	uring_spend(&silent, 5, 0);
	uring_spend(&silent, 18, IOSQE_CQE_SKIP_SUCCESS);
	open_large();
	open_twice();
	open_dropped();
	CHECK(uring_open(&shared, 4, 0, 0));
	uring_spend(&shared, 9, 0);
	CHECK(uring_open(&array, 16, 0, NO_SQARRAY));
	uring_spend(&array, 23, 0);
	CHECK(uring_open(&mine, 8, 0, URING_ONE_THREAD));
	for (unsigned i = 0; i < 5000; i++)
		uring_spend(&mine, 8, 0);
	leave_some(&mine);
	CHECK(uring_open(&disabled, 16, 0, IORING_SETUP_R_DISABLED));
}

static void go_on(void)
{
	take_them(&plain);
	take_them(&mine);
	uring_spend(&mine, 40, 0);
	take_them(&wide);
	CHECK_EQ(*(const uint32_t *)(const void *)(again + wide.p.cq_off.tail), wide.cq_head);
	uring_spend(&silent, 40, IOSQE_CQE_SKIP_SUCCESS);
	uring_next(&silent, IORING_OP_NOP, 1)->flags = IOSQE_IO_DRAIN;
	CHECK_EQ(uring_do(&silent, 1), -EOPNOTSUPP);
	uring_spend(&silent, 40, 0);
	for (unsigned i = 5; i < 21; i++)
		CHECK_EQ(uring_take(&twice, 300 + i), 0);
	uring_spend(&large, 1000, 0);
	uring_spend(&twice, 40, 0);
	uring_spend(&dropped, 40, 0);
	uring_next(&dropped, IORING_OP_NOP, 1)->flags = IOSQE_IO_DRAIN;
	CHECK_EQ(uring_do(&dropped, 1), 0);
	CHECK_EQ(*uring_word(&dropped, dropped.p.sq_off.dropped), 5);
	uring_spend(&shared, 40, 0);
	uring_spend(&array, 40, 0);
	CHECK(uring_enter(&disabled, 0, 0, 0) < 0 && errno == EBADFD);
	CHECK(!syscall(SYS_io_uring_register, disabled.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	uring_spend(&disabled, 40, 0);
}

int main(int argc, char **argv)
{
	static char after[TOLD];
	pid_t child;

	kind_init(argc, argv);
	set_up();
	for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++)
		uring_told(all[i].u, all[i].before, TOLD);
	child = kind_fork(use_shared, NULL);
	kind_ready();
	kind_join(child);
	CHECK_EQ(uring_ready(&shared), 1);
	for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
		uring_told(all[i].u, after, TOLD);
		if (all[i].u != &shared)
			CHECK_STR(after, all[i].before);
	}
	shared.sq_tail++;
	CHECK_EQ(uring_take(&shared, 55), 0);
	go_on();
	kind_pass();
}
