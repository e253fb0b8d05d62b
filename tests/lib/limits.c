/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits MIB FOLDER: what the machine itself takes, in milliseconds, for what a dump and a
 * restore of so much memory in small pages cannot do without; each in the fastest plain way,
 * a thread for each processor. Prints one line for bench/run:
 *
 *   copy   from memory to memory that was used before
 *   fork   of a process with that memory, until the parent goes on
 *   write  of the memory to new files in FOLDER, one for each thread, 1 MiB at a time: the kernel
 *          lets only one at a time write to a file
 *   fill   of fresh memory from those files, which are in the page cache: pages are made just
 *          before they are read into, all at once
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, THREADS_MAX = 64 };

enum job { COPY, WRITE, FILL };

struct part {
	enum job job;
	char *from, *to;
	size_t start, end;
	int fd; /* of a file whose first byte is that of start */
	pthread_t thread;
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void die(const char *what)
{
	fprintf(stderr, "limits: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *work(void *arg)
{
	struct part *p = arg;

	for (size_t at = p->start; at < p->end; at += BLOCK) {
		off_t in_file = (off_t)(at - p->start);
		if (p->job == COPY)
			memcpy(p->to + at, p->from + at, BLOCK);
		else if (p->job == WRITE && pwrite(p->fd, p->from + at, BLOCK, in_file) != BLOCK)
			die("cannot write");
		if (p->job != FILL)
			continue;
		madvise(p->to + at, BLOCK, MADV_POPULATE_WRITE); /* or reading makes them */
		if (pread(p->fd, p->to + at, BLOCK, in_file) != BLOCK)
			die("cannot read");
	}
	return NULL;
}

static size_t threads(void)
{
	cpu_set_t cpus;
	size_t n = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : (size_t)CPU_COUNT(&cpus);

	return n < THREADS_MAX ? n : THREADS_MAX;
}

/* fds: a file for each thread. */
static double run(enum job job, char *from, char *to, size_t len, const int *fds)
{
	struct part v[THREADS_MAX];
	size_t n = threads(), each = (len / n + BLOCK - 1) / BLOCK * BLOCK;
	double start = now_ms();

	for (size_t i = 0; i < n; i++) {
		v[i] = (struct part){ job, from, to, i * each, (i + 1) * each < len ? (i + 1) * each : len,
			              fds[i], 0 };
		if (pthread_create(&v[i].thread, NULL, work, &v[i]))
			die("cannot start a thread");
	}
	for (size_t i = 0; i < n; i++)
		pthread_join(v[i].thread, NULL);
	return now_ms() - start;
}

static char *map(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("cannot map memory");
	madvise(p, len, MADV_NOHUGEPAGE);
	return p;
}

/* They have no name any more. */
static void open_files(const char *folder, int *fds)
{
	for (size_t i = 0; i < threads(); i++) {
		fds[i] = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		if (fds[i] < 0)
			die(folder);
	}
}

static double time_fork(void)
{
	double start = now_ms();
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	double took = now_ms() - start;
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		die("cannot fork");
	return took;
}

int main(int argc, char **argv)
{
	int fds[THREADS_MAX];

	if (argc != 3 || atoi(argv[1]) <= 0) {
		fputs("usage: limits MIB FOLDER\n", stderr);
		return 2;
	}
	size_t len = (size_t)atoi(argv[1]) << 20;
	char *from = map(len);
	for (size_t i = 0; i < len; i += 8)
		*(uint64_t *)(void *)(from + i) = i * 0x9e3779b97f4a7c15u;
	double forked = time_fork();
	open_files(argv[2], fds);
	double written = run(WRITE, from, NULL, len, fds);
	char *to = map(len);
	double filled = run(FILL, NULL, to, len, fds);
	printf("copy %.3f fork %.3f write %.3f fill %.3f\n", run(COPY, from, to, len, fds), forked,
	       written, filled);
	return 0;
}
