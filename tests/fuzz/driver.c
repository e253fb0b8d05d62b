/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain driver of a fuzz target:
 *
 *   fuzz-X [SECONDS [SEED]]       mutates the seeds (10 seconds, a seed from the clock)
 *   fuzz-X --write-seeds DIR      writes the seeds as files, for libFuzzer
 *   fuzz-X --run FILE...          runs files, e.g. what once crashed
 *
 * An input that crashes stays behind as ./crash-X for --run, X being its number
 * with the SEED that was printed.
 */
#include "tests/fuzz/fuzz.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX (1u << 16)

static uint64_t random_state;
static uint8_t input[INPUT_MAX];
static size_t input_len;
static unsigned long long runs;

static uint64_t random_next(void) /* xorshift64* */
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 2685821657736338717ull;
}

static size_t below(size_t n)
{
	return n ? random_next() % n : 0;
}

static void save_input(int sig)
{
	char name[48];
	int n = snprintf(name, sizeof(name), "crash-%llu", runs);
	int fd = n > 0 ? open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;

	if (fd >= 0 && write(fd, input, input_len) == (ssize_t)input_len)
		close(fd);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* Moves the tail so that there are n bytes more (or fewer) at position at. */
static void resize_at(size_t at, long n)
{
	if (n > 0 && input_len + (size_t)n > INPUT_MAX)
		return;
	if (n < 0 && at + (size_t)-n > input_len)
		n = -(long)(input_len - at);
	memmove(input + at + (n > 0 ? n : 0), input + at + (n < 0 ? -n : 0),
	        input_len - at - (size_t)(n < 0 ? -n : 0));
	input_len = (size_t)((long)input_len + n);
}

static void mutate(void)
{
	static const uint8_t odd[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0x10, 0x08 };
	size_t at = below(input_len), n = 1 + below(16);

	if (!input_len)
		return;
	switch (below(7)) {
	case 0:
		input[at] ^= (uint8_t)(1u << below(8));
		break;
	case 1:
		input[at] = odd[below(sizeof(odd))];
		break;
	case 2:
		input[at] = (uint8_t)(input[at] + below(35) - 17);
		break;
	case 3:
		resize_at(at, -(long)n);
		break;
	case 4: /* repeat a piece */
		if (at + n <= input_len && input_len + n <= INPUT_MAX) {
			resize_at(at, (long)n);
			memcpy(input + at, input + at + n, n);
		}
		break;
	case 5: { /* copy a piece elsewhere */
		size_t from = below(input_len);
		n = n < input_len - at ? n : input_len - at;
		n = n < input_len - from ? n : input_len - from;
		memmove(input + at, input + from, n);
		break;
	}
	case 6:
		if (below(8) == 0)
			input_len = at;
		break;
	}
}

static int fuzz(unsigned seconds, uint64_t seed)
{
	struct timespec start, now;
	uint8_t *seeds[64];
	size_t lens[64];
	unsigned nseeds = 0;

	while (nseeds < 64 && fuzz_seed(nseeds, &seeds[nseeds], &lens[nseeds]))
		nseeds++;
	random_state = seed ? seed : 1;
	printf("%u seeds, %u seconds, random seed %llu\n", nseeds, seconds, (unsigned long long)seed);
	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		unsigned s = runs < nseeds ? (unsigned)runs : (unsigned)below(nseeds);
		input_len = lens[s] < INPUT_MAX ? lens[s] : INPUT_MAX;
		memcpy(input, seeds[s], input_len);
		for (size_t i = runs < nseeds ? 0 : 1 + below(below(4) ? 4 : 40); i; i--)
			mutate();
		/* An exact copy, so that a sanitizer sees one byte too far. */
		uint8_t *copy = malloc(input_len ? input_len : 1);
		memcpy(copy, input, input_len);
		LLVMFuzzerTestOneInput(copy, input_len);
		free(copy);
		runs++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 <
	         (long)seconds * 1000);
	while (nseeds)
		free(seeds[--nseeds]);
	printf("%llu runs\n", runs);
	return 0;
}

static int write_seeds(const char *dir)
{
	uint8_t *seed;
	size_t len;

	for (unsigned i = 0; fuzz_seed(i, &seed, &len); i++) {
		char path[4096];
		snprintf(path, sizeof(path), "%s/seed-%u", dir, i);
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		if (fd < 0 || write(fd, seed, len) != (ssize_t)len || close(fd)) {
			perror(path);
			return 1;
		}
		free(seed);
	}
	return 0;
}

static int run_file(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		perror(path);
		return 1;
	}
	uint8_t *p = malloc((size_t)st.st_size + 1);
	ssize_t n = read(fd, p, (size_t)st.st_size);
	close(fd);
	LLVMFuzzerTestOneInput(p, n > 0 ? (size_t)n : 0);
	free(p);
	return 0;
}

int main(int argc, char **argv)
{
	int r = 0;

	if (argc > 2 && !strcmp(argv[1], "--write-seeds"))
		return write_seeds(argv[2]);
	if (argc > 1 && !strcmp(argv[1], "--run")) {
		for (int i = 2; i < argc; i++)
			r |= run_file(argv[i]);
		return r;
	}
	signal(SIGABRT, save_input);
	return fuzz(argc > 1 ? (unsigned)atoi(argv[1]) : 10,
	            argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL));
}
