/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits MIB FOLDER: what the machine itself takes, in milliseconds, for what a dump and a
 * restore of so much memory in small pages cannot do without; each in the fastest plain way,
 * a thread for each processor. Prints one line for bench/run:
 *
 *   copy   from memory to memory that was used before
 *   fork   of a process with that memory, until the parent goes on
 *   write  of the memory to a new file in FOLDER, 1 MiB at a time
 *   fill   of fresh memory from that file, which is in the page cache
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
	int fd;
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
		if (p->job == COPY)
			memcpy(p->to + at, p->from + at, BLOCK);
		else if (p->job == WRITE && pwrite(p->fd, p->from + at, BLOCK, (off_t)at) != BLOCK)
			die("cannot write");
		else if (p->job == FILL && pread(p->fd, p->to + at, BLOCK, (off_t)at) != BLOCK)
			die("cannot read");
	}
	return NULL;
}

static double run(enum job job, char *from, char *to, size_t len, int fd)
{
	struct part v[THREADS_MAX];
	cpu_set_t cpus;
	size_t n = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : (size_t)CPU_COUNT(&cpus);
	double start = now_ms();

	if (n > THREADS_MAX)
		n = THREADS_MAX;
	size_t each = (len / n + BLOCK - 1) / BLOCK * BLOCK;
	for (size_t i = 0; i < n; i++) {
		v[i] = (struct part){ job, from, to, i * each, (i + 1) * each < len ? (i + 1) * each : len,
			              fd, 0 };
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
	char path[4096];

	if (argc != 3 || atoi(argv[1]) <= 0) {
		fputs("usage: limits MIB FOLDER\n", stderr);
		return 2;
	}
	size_t len = (size_t)atoi(argv[1]) << 20;
	char *from = map(len);
	for (size_t i = 0; i < len; i += 8)
		*(uint64_t *)(void *)(from + i) = i * 0x9e3779b97f4a7c15u;
	double forked = time_fork();
	snprintf(path, sizeof(path), "%s/limits", argv[2]);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	double written = run(WRITE, from, NULL, len, fd);
	char *to = map(len);
	double filled = run(FILL, NULL, to, len, fd);
	close(fd);
	unlink(path);
	printf("copy %.3f fork %.3f write %.3f fill %.3f\n", run(COPY, from, to, len, -1), forked,
	       written, filled);
	return 0;
}
