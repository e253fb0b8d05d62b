/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that hardly rest (just enough that tests beside them get on): vector
 * registers, sleeps, waits with and without a timeout, data through a pipe, a
 * timer's signals. Each verifies all that it sees, so whatever is done to them
 * meanwhile must not show: no result that the kernel would not have given, no sleep
 * cut short, no thread that stands still.
 */
#include "kind.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/time.h>

enum { VECTOR, SLEEP, POLL, FUTEX, SIGWAIT, PAUSE, SEND, RECEIVE, PING, PONG, THREADS };

static unsigned long progress[THREADS];
static int channel[2];
static uint32_t never, turn;
static volatile sig_atomic_t alarms;

#define WIDTH 64 /* bytes: of up to 16 registers of 512 bits we use 16 of 256 */
struct vectors { uint8_t v[16][WIDTH / 2]; } __attribute__((aligned(64)));

/* Mixes 16 vector registers for a while; nothing but registers is touched in between. */
__attribute__((target("avx2"))) static void mix(struct vectors *v, unsigned long rounds)
{
#define LOAD(n) "vmovdqa " #n "*32(%0), %%ymm" #n "\n"
#define SAVE(n) "vmovdqa %%ymm" #n ", " #n "*32(%0)\n"
#define MIX(a, b) "vpaddq %%ymm" #b ", %%ymm" #a ", %%ymm" #a "\n"
#define ALL(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
	__asm__ volatile("fld1\n"
	                 ALL(LOAD)
	                 "1:\n"
	                 MIX(0, 1) MIX(1, 2) MIX(2, 3) MIX(3, 4) MIX(4, 5) MIX(5, 6) MIX(6, 7) MIX(7, 8)
	                 MIX(8, 9) MIX(9, 10) MIX(10, 11) MIX(11, 12) MIX(12, 13) MIX(13, 14)
	                 MIX(14, 15) MIX(15, 0)
	                 "dec %1\n"
	                 "jnz 1b\n"
	                 ALL(SAVE)
	                 "fstp %%st(0)\n"
	                 "vzeroupper\n"
	                 : "+r"(v), "+r"(rounds) : : "memory", "cc");
}

static void *run_vector(void *arg)
{
	struct vectors first, want, got;

	for (unsigned i = 0; i < sizeof(first); i++)
		((uint8_t *)&first)[i] = (uint8_t)(i * 37 + 11);
	want = first;
	mix(&want, 100000);
	for (; !kind_over(); progress[VECTOR]++) {
		got = first;
		mix(&got, 100000);
		CHECK(!memcmp(&got, &want, sizeof(got)));
		kind_sleep_ms(1);
	}
	return NULL;
}

static void *run_sleep(void *arg)
{
	for (; !kind_over(); progress[SLEEP]++) {
		struct timespec t = { 0, 3000000 };
		int64_t from = kind_now_ms();
		CHECK_EQ(nanosleep(&t, NULL), 0);
		CHECK(kind_now_ms() - from >= 2);
	}
	return NULL;
}

static void *run_poll(void *arg)
{
	for (; !kind_over(); progress[POLL]++) {
		int64_t from = kind_now_ms();
		CHECK_EQ(poll(NULL, 0, 5), 0);
		CHECK(kind_now_ms() - from >= 4);
	}
	return NULL;
}

static void *run_futex(void *arg)
{
	for (; !kind_over(); progress[FUTEX]++) {
		struct timespec t = { 0, 4000000 };
		long r = syscall(SYS_futex, &never, FUTEX_WAIT, 0, &t, NULL, 0);
		CHECK(r < 0 && errno == ETIMEDOUT);
	}
	return NULL;
}

static void *run_sigwait(void *arg)
{
	sigset_t usr1;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	for (; !kind_over(); progress[SIGWAIT]++) {
		struct timespec t = { 0, 4000000 };
		int64_t from = kind_now_ms();
		int r = sigtimedwait(&usr1, NULL, &t), e = errno;
		CHECK(r < 0);
		/* The kernel ends this call at any stop (signal(7)); crcore puts that
		 * right, but not if it is killed in that very moment. */
		if (e != EINTR || access(kind_path("killing"), F_OK)) {
			CHECK_EQ(e, EAGAIN);
			CHECK(kind_now_ms() - from >= 3);
		}
	}
	return NULL;
}

static void on_alarm(int signo)
{
	alarms++;
}

/* Only this thread takes the timer's signal; pause() ends with each handler, and only so. */
static void *run_pause(void *arg)
{
	struct itimerval every = { { 0, 3000 }, { 0, 3000 } };
	sigset_t alarm_set, old;

	sigemptyset(&alarm_set);
	sigaddset(&alarm_set, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarm_set, &old);
	sigdelset(&old, SIGALRM);
	CHECK_EQ(setitimer(ITIMER_REAL, &every, NULL), 0);
	for (; !kind_over(); progress[PAUSE]++) {
		sig_atomic_t before = alarms;
		CHECK(sigsuspend(&old) < 0 && errno == EINTR);
		CHECK(alarms > before);
	}
	memset(&every, 0, sizeof(every));
	CHECK_EQ(setitimer(ITIMER_REAL, &every, NULL), 0);
	return NULL;
}

static void *run_send(void *arg)
{
	uint32_t block[300];

	for (uint32_t n = 0; !kind_over(); progress[SEND]++) {
		for (unsigned i = 0; i < 300; i++)
			block[i] = n++;
		for (size_t done = 0; done < sizeof(block);) {
			ssize_t r = write(channel[1], (char *)block + done, sizeof(block) - done);
			CHECK(r > 0);
			done += (size_t)r;
		}
		if (progress[SEND] % 4 == 0)
			kind_sleep_ms(1);
	}
	close(channel[1]);
	return NULL;
}

static void *run_receive(void *arg)
{
	uint32_t want = 0, got;
	ssize_t r;

	while ((r = read(channel[0], &got, sizeof(got))) != 0) {
		CHECK_EQ(r, (ssize_t)sizeof(got)); /* 4 divides the size of the pipe */
		CHECK_EQ(got, want);
		want++;
		progress[RECEIVE]++;
	}
	return NULL;
}

/* Two threads that wake each other, waiting without a timeout. */
static void *run_turns(void *arg)
{
	uint32_t mine = (uint32_t)(uintptr_t)arg, seen;

	for (;; progress[PING + mine]++) {
		if (!mine && progress[PING] % 32 == 0)
			kind_sleep_ms(1);
		while ((seen = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) != mine && seen < 2) {
			long r = syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
			CHECK(r == 0 || errno == EAGAIN);
		}
		seen = seen == 2 || (progress[PING + mine] % 64 == 0 && kind_over()) ? 2 : !mine;
		__atomic_store_n(&turn, seen, __ATOMIC_RELEASE);
		syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		if (seen == 2)
			return NULL;
	}
}

int main(int argc, char **argv)
{
	static void *(*const run[THREADS])(void *) = {
		run_vector, run_sleep, run_poll, run_futex, run_sigwait, run_pause, run_send,
		run_receive, run_turns, run_turns,
	};
	pthread_t thread[THREADS];
	sigset_t set;

	kind_init(argc, argv);
	kind_busy();
	if (!__builtin_cpu_supports("avx2"))
		kind_skip("no AVX2");
	CHECK_EQ(pipe(channel), 0);
	signal(SIGALRM, on_alarm);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (long i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&thread[i], NULL, run[i], (void *)(i == PONG ? 1L : 0L)));
	kind_announce();

	unsigned long seen[THREADS] = { 0 };
	int64_t since[THREADS];
	for (int i = 0; i < THREADS; i++)
		since[i] = kind_now_ms();
	while (!kind_over()) {
		kind_sleep_ms(20);
		for (int i = 0; i < THREADS; i++) {
			if (progress[i] != seen[i])
				since[i] = kind_now_ms();
			else if (kind_now_ms() - since[i] > 20000)
				kind_fail("thread %d stands still after %lu rounds", i, seen[i]);
			seen[i] = progress[i];
		}
	}
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_join(thread[i], NULL));
	kind_pass();
}
