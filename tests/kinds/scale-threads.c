/* SPDX-License-Identifier: Apache-2.0 */
/* 500 threads (or argv[2]) in one process, each asleep on a futex of its own. */
#include "kind.h"
#include <linux/futex.h>
#include <pthread.h>

struct one {
	pthread_t thread;
	uint32_t word;
	pid_t tid;
	long number;
};

static int ready;
static _Thread_local long mine;

static void *run(void *arg)
{
	struct one *o = arg;
	long local[32];

	for (long i = 0; i < 32; i++)
		local[i] = o->number * 100 + i;
	mine = ~o->number;
	o->tid = gettid();
	__atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&o->word, __ATOMIC_ACQUIRE)) {
		long ret = syscall(SYS_futex, &o->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
		CHECK(ret == 0 || errno == EAGAIN);
	}
	for (long i = 0; i < 32; i++)
		CHECK_EQ(local[i], o->number * 100 + i);
	CHECK_EQ(mine, ~o->number);
	CHECK_EQ(gettid(), o->tid);
	return NULL;
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 500;
	struct one *all = calloc((size_t)n, sizeof(*all));
	pthread_attr_t attr;

	kind_init(argc, argv);
	CHECK(!pthread_attr_init(&attr) && !pthread_attr_setstacksize(&attr, 128 * 1024));
	for (int i = 0; i < n; i++) {
		all[i].number = i;
		CHECK(!pthread_create(&all[i].thread, &attr, run, &all[i]));
	}
	kind_until(&ready, n);
	for (int i = 0; i < n; i++)
		kind_until_state(getpid(), all[i].tid, 'S');
	kind_ready();
	for (int i = 0; i < n; i++) {
		__atomic_store_n(&all[i].word, 1, __ATOMIC_RELEASE);
		syscall(SYS_futex, &all[i].word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		CHECK(!pthread_join(all[i].thread, NULL));
	}
	kind_pass();
}
