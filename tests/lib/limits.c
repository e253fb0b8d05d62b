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
 *          before they are read into, all at once. (Whoever else fills it may be faster, by
 *          UFFDIO_COPY, which needs no cleared pages)
 *   other  of another process' memory to new files: it is read and written, 1 MiB at a time. No
 *          process can write what is not its own in less
 *   end    of that process, from SIGKILL on
 *
 * limits MIB: only takes so much free memory, and gives it back. A machine that is itself a guest
 * may have lent what was free for two seconds to others; what first uses it then takes up to 20
 * times as long. So this is to be run just before whatever is measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, THREADS_MAX = 64 };

enum job { COPY, WRITE, FILL, OTHER, WARM };

struct part {
	enum job job;
	char *from, *to;
	size_t start, end;
	int fd; /* of a file whose first byte is that of start */
	pid_t other; /* whose memory from is */
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

static void do_block(const struct part *p, size_t at, char *buffer)
{
	off_t in_file = (off_t)(at - p->start);
	struct iovec here = { buffer, BLOCK }, there = { p->from + at, BLOCK };

	switch (p->job) {
	case COPY:
		memcpy(p->to + at, p->from + at, BLOCK);
		break;
	case OTHER:
		if (process_vm_readv(p->other, &here, 1, &there, 1, 0) != BLOCK)
			die("cannot read the other's memory");
		/* fallthrough */
	case WRITE:
		if (pwrite(p->fd, buffer ? buffer : p->from + at, BLOCK, in_file) != BLOCK)
			die("cannot write");
		break;
	case FILL:
	case WARM:
		madvise(p->to + at, BLOCK, MADV_POPULATE_WRITE); /* or reading makes them */
		if (p->job == FILL && pread(p->fd, p->to + at, BLOCK, in_file) != BLOCK)
			die("cannot read");
	}
}

static void *work(void *arg)
{
	struct part *p = arg;
	char *buffer = p->job == OTHER ? malloc(BLOCK) : NULL;

	if (p->job == OTHER && !buffer)
		die("no memory");
	for (size_t at = p->start; at < p->end; at += BLOCK)
		do_block(p, at, buffer);
	free(buffer);
	return NULL;
}

static size_t threads(void)
{
	cpu_set_t cpus;
	size_t n = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : (size_t)CPU_COUNT(&cpus);

	return n < THREADS_MAX ? n : THREADS_MAX;
}

/* fds: a file for each thread. */
static double run(enum job job, pid_t other, char *from, char *to, size_t len, const int *fds)
{
	struct part v[THREADS_MAX];
	size_t n = threads(), each = (len / n + BLOCK - 1) / BLOCK * BLOCK;
	double start = now_ms();

	for (size_t i = 0; i < n; i++) {
		v[i] = (struct part){ job, from, to, i * each, (i + 1) * each < len ? (i + 1) * each : len,
			              fds ? fds[i] : -1, other, 0 };
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

/* In huge pages: those are what the kernel then takes first. */
static void warm(size_t len)
{
	char *p = map(len);

	madvise(p, len, MADV_HUGEPAGE);
	run(WARM, 0, NULL, p, len, NULL);
	munmap(p, len);
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

/* A process whose memory at from is its own, not shared with this one's until either writes. */
static pid_t start_other(char *from, size_t len)
{
	int ready[2];
	char c;

	if (pipe2(ready, O_CLOEXEC) < 0)
		die("cannot make a pipe");
	pid_t pid = fork();
	if (pid < 0)
		die("cannot fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (size_t i = 0; i < len; i += 4096)
			from[i]++;
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		die("the other process ended");
	close(ready[0]);
	return pid;
}

static void time_other(char *from, size_t len, const char *folder)
{
	int fds[THREADS_MAX];

	open_files(folder, fds);
	pid_t pid = start_other(from, len);
	warm(len + len / 4);
	double took = run(OTHER, pid, from, NULL, len, fds), start = now_ms();
	if (kill(pid, SIGKILL) < 0 || waitpid(pid, NULL, 0) != pid)
		die("cannot end the other process");
	printf(" other %.3f end %.3f\n", took, now_ms() - start);
}

int main(int argc, char **argv)
{
	int fds[THREADS_MAX];

	if (argc < 2 || argc > 3 || atoi(argv[1]) <= 0) {
		fputs("usage: limits MIB [FOLDER]\n", stderr);
		return 2;
	}
	size_t len = (size_t)atoi(argv[1]) << 20;
	warm(argc == 2 ? len : 3 * len); /* for what follows until the other process */
	if (argc == 2)
		return 0;
	char *from = map(len);
	for (size_t i = 0; i < len; i += 8)
		*(uint64_t *)(void *)(from + i) = i * 0x9e3779b97f4a7c15u;
	double forked = time_fork();
	open_files(argv[2], fds);
	double written = run(WRITE, 0, from, NULL, len, fds);
	char *to = map(len);
	double filled = run(FILL, 0, NULL, to, len, fds);
	printf("copy %.3f fork %.3f write %.3f fill %.3f", run(COPY, 0, from, to, len, NULL), forked,
	       written, filled);
	munmap(to, len);
	for (size_t i = 0; i < threads(); i++)
		close(fds[i]);
	time_other(from, len, argv[2]);
	return 0;
}
