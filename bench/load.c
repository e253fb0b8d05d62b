/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What bench.py measures: a process tree of one sort and size, that says when it is
 * ready (creates the file named by its last argument) and then does nothing.
 *
 *   load tiny | processes N | threads N | mappings N | forks MIB N | files N | memory MIB  READY
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define MIB (1L << 20)

static void rest(void)
{
	for (;;)
		pause();
}

static void *rest_in_thread(void *arg)
{
	(void)arg;
	rest();
	return NULL;
}

/* Bytes that no two pages share and that do not compress away. */
static char *fill(long mib)
{
	char *p = mmap(NULL, (size_t)(mib * MIB), PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long x = 88172645463325252UL;

	if (p == MAP_FAILED)
		exit(1);
	for (unsigned long *w = (unsigned long *)p; w < (unsigned long *)(p + mib * MIB); w++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		*w = x;
	}
	return p;
}

/* Three levels: groups of ten below groups of ten. */
static void make_processes(long n)
{
	for (long left = n - 1; left > 0; left -= 11) {
		if (fork())
			continue;
		for (long i = 0; i < 10 && i < left - 1; i++)
			if (!fork())
				rest();
		rest();
	}
}

static void make_threads(long n)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	for (long i = 1; i < n; i++)
		if (pthread_create(&t, &attr, rest_in_thread, NULL))
			exit(1);
}

static void make_mappings(long n)
{
	char *p = mmap(NULL, (size_t)n * 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	for (long i = 0; i < n / 2; i++) {
		if (mprotect(p + i * 16384, 4096, PROT_READ | PROT_WRITE))
			exit(1);
		p[i * 16384] = (char)i;
	}
}

/* Each child moves one page elsewhere, so that addresses alone do not tell what is shared. */
static void make_forks(long mib, long n)
{
	char *p = fill(mib);

	for (long i = 0; i < n; i++)
		if (!fork()) {
			void *to = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (mremap(p + i * 8192, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED)
				exit(1);
			rest();
		}
}

static void make_files(long n)
{
	struct rlimit limit;
	char name[32];
	int fds[2];

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (long i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "file-%ld", i);
		if (open(name, O_RDWR | O_CREAT, 0600) < 0 || pipe(fds) < 0)
			exit(1);
	}
}

int main(int argc, char **argv)
{
	const char *kind = argc > 2 ? argv[1] : "";
	long a = argc > 3 ? atol(argv[2]) : 0, b = argc > 4 ? atol(argv[3]) : 0;

	if (!strcmp(kind, "processes"))
		make_processes(a);
	else if (!strcmp(kind, "threads"))
		make_threads(a);
	else if (!strcmp(kind, "mappings"))
		make_mappings(a);
	else if (!strcmp(kind, "forks"))
		make_forks(a, b);
	else if (!strcmp(kind, "files"))
		make_files(a);
	else if (!strcmp(kind, "memory"))
		fill(a);
	else if (strcmp(kind, "tiny"))
		return 2;
	usleep(50000); /* children come to rest */
	int fd = open(argv[argc - 1], O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		return 1;
	close(fd);
	rest();
}
