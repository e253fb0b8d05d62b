/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree that hardly rests (just enough that tests beside it get on): a ring of
 * processes that hand a growing token from pipe to pipe, each with a thread that maps,
 * fills, checks and unmaps memory, one that contends for a mutex shared by all, and one
 * that forks children and checks how they end. No call may give a result that it would
 * not give undisturbed, and every part must get on.
 */
#include "kind.h"
#include <pthread.h>
#include <sys/mman.h>

enum { RING = 4, SLOTS = 64 };

struct shared {
	pthread_mutex_t mutex;
	volatile int ready;
	unsigned long sum, parts[RING]; /* under the mutex: sum of parts */
	volatile unsigned long token[RING], mapped[RING], forked[RING], locked[RING];
};

static struct shared *s;
static int ring[RING][2];
static int me;

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	return x ^ x >> 29;
}

/* Reads or writes all of it; interrupted calls are an error here. */
static bool all(bool out, int fd, void *buf, size_t len)
{
	for (size_t n = 0; n < len;) {
		ssize_t r = out ? write(fd, (char *)buf + n, len - n) : read(fd, (char *)buf + n, len - n);

		if (r == 0)
			return false;
		CHECK(r > 0);
		n += (size_t)r;
	}
	return true;
}

/* token[0]: how many hops, token[1..]: a function of that */
static void pass_token(void)
{
	uint64_t token[SLOTS];

	while (all(false, ring[me][0], token, sizeof(token))) {
		for (unsigned i = 1; i < SLOTS; i++)
			CHECK_EQ(token[i], mix(token[0] + i));
		CHECK_EQ(token[0] % RING, (uint64_t)me);
		if (me == 0 && kind_over())
			return;
		token[0]++;
		for (unsigned i = 1; i < SLOTS; i++)
			token[i] = mix(token[0] + i);
		CHECK(all(true, ring[(me + 1) % RING][1], token, sizeof(token)));
		if (++s->token[me] % 32 == 0)
			kind_sleep_ms(1);
	}
}

static void *map_memory(void *arg)
{
	uint64_t seed = (uint64_t)me + 1;

	while (!kind_over()) {
		size_t len = (mix(seed++) % 30 + 1) * 4096;
		uint64_t *v = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(v != MAP_FAILED);
		for (size_t i = 0; i < len / 8; i++)
			v[i] = mix(seed + i);
		v = mremap(v, len, len + 8192, MREMAP_MAYMOVE);
		CHECK(v != MAP_FAILED);
		for (size_t i = 0; i < len / 8; i++)
			CHECK_EQ(v[i], mix(seed + i));
		for (size_t i = len / 8; i < len / 8 + 1024; i++)
			CHECK_EQ(v[i], 0);
		CHECK(!munmap(v, len + 8192));
		s->mapped[me]++;
		kind_sleep_ms(1);
	}
	return NULL;
}

static void *take_mutex(void *arg)
{
	while (!kind_over()) {
		unsigned long sum = 0;

		CHECK(!pthread_mutex_lock(&s->mutex));
		for (int i = 0; i < RING; i++)
			sum += s->parts[i];
		CHECK_EQ(sum, s->sum);
		s->parts[me]++;
		sched_yield();
		s->sum++;
		CHECK(!pthread_mutex_unlock(&s->mutex));
		if (++s->locked[me] % 16 == 0)
			kind_sleep_ms(1);
	}
	return NULL;
}

static void *fork_children(void *arg)
{
	for (int n = 0; !kind_over(); n = (n + 1) & 127) {
		int status;
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (!pid) {
			if (n % 3 == 0)
				usleep(2000);
			if (n % 5 == 0)
				kill(getpid(), SIGKILL);
			_exit(n);
		}
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(status, n % 5 == 0 ? SIGKILL : n << 8);
		s->forked[me]++;
		kind_sleep_ms(1);
	}
	return NULL;
}

static int member(void *arg)
{
	void *(*fn[])(void *) = { map_memory, take_mutex, fork_children };
	pthread_t thread[3];

	me = (int)(long)arg;
	for (int i = 0; i < RING; i++) { /* its own pipe's reading end, the next one's writing end */
		if (i != me)
			close(ring[i][0]);
		if (i != (me + 1) % RING)
			close(ring[i][1]);
	}
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_create(&thread[i], NULL, fn[i], NULL));
	__atomic_add_fetch(&s->ready, 1, __ATOMIC_SEQ_CST);
	pass_token();
	close(ring[(me + 1) % RING][1]);
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_join(thread[i], NULL));
	return 0;
}

static unsigned long least(volatile unsigned long *v)
{
	unsigned long ret = v[0];

	for (int i = 1; i < RING; i++)
		ret = v[i] < ret ? v[i] : ret;
	return ret;
}

/* Every part must have got on within 20 s. */
static void watch(void)
{
	volatile unsigned long *part[] = { s->token, s->mapped, s->forked, s->locked };
	unsigned long seen[4] = { 0 };
	int64_t since[4];

	for (int i = 0; i < 4; i++)
		since[i] = kind_now_ms();
	while (!kind_over()) {
		siginfo_t info = { .si_pid = 0 };

		kind_sleep_ms(20);
		CHECK(!waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT));
		CHECK(!info.si_pid || kind_over()); /* nobody has given up */
		for (int i = 0; i < 4; i++) {
			if (least(part[i]) != seen[i])
				since[i] = kind_now_ms();
			else if (kind_now_ms() - since[i] > 20000)
				kind_fail("part %d stands still after %lu rounds", i, seen[i]);
			seen[i] = least(part[i]);
		}
	}
}

int main(int argc, char **argv)
{
	uint64_t token[SLOTS] = { 0 };
	pthread_mutexattr_t attr;
	pid_t pid[RING];

	kind_init(argc, argv);
	kind_busy();
	s = kind_shared(sizeof(*s));
	CHECK(!pthread_mutexattr_init(&attr));
	CHECK(!pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED));
	CHECK(!pthread_mutex_init(&s->mutex, &attr));
	for (int i = 0; i < RING; i++)
		CHECK(!pipe(ring[i]));
	for (unsigned i = 1; i < SLOTS; i++)
		token[i] = mix(i);
	CHECK(all(true, ring[0][1], token, sizeof(token)));
	for (long i = 0; i < RING; i++)
		pid[i] = kind_fork(member, (void *)i);
	for (int i = 0; i < RING; i++) {
		close(ring[i][0]);
		close(ring[i][1]);
	}
	kind_until(&s->ready, RING);
	for (int i = 0; !least(s->token) || !least(s->mapped) || !least(s->forked) ||
	     !least(s->locked); i++) {
		CHECK(i < 10000);
		kind_sleep_ms(1);
	}
	kind_announce();
	watch();
	for (int i = 0; i < RING; i++)
		kind_join(pid[i]);
	kind_pass();
}
