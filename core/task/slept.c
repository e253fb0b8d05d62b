/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a thread has slept. se.exec_start of /proc/PID/task/TID/sched is when
 * it ran last, in the clock of the scheduler of the processor it ran on. These
 * clocks leave out time that was stolen or spent in interrupts, so they differ
 * from processor to processor: each is read there, by our own exec_start.
 */
#include <fcntl.h>
#include <sched.h>
#include "core/task/slept.h"
#include "core/task/task.h"
#include "core/util/util.h"

struct sched_clocks {
	cpu_set_t allowed;
	bool moved;
	int self;                       /* /proc/thread-self */
	bool known[CPU_SETSIZE];
	int64_t ahead[CPU_SETSIZE];     /* of the monotonic clock, ns */
};

struct sched_clocks *sched_clocks_new(void)
{
	struct sched_clocks *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->self = open("/proc/thread-self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	sched_getaffinity(0, sizeof(c->allowed), &c->allowed);
	return c;
}

void sched_clocks_free(struct sched_clocks *c)
{
	if (!c)
		return;
	if (c->moved)
		sched_setaffinity(0, sizeof(c->allowed), &c->allowed);
	if (c->self >= 0)
		close(c->self);
	free(c);
}

static uint64_t sched_number(const char *text, const char *key)
{
	unsigned long long whole = 0;
	unsigned fraction = 0;
	const char *line = strstr(text, key);

	if (!line || !(line = strchr(line, ':')))
		return 0;
	if (sscanf(line + 1, "%llu.%6u", &whole, &fraction) == 2)
		return whole * 1000000u + fraction;
	return whole;
}

/* Nanoseconds of its processor's clock when the thread ran last; 0: unknown. */
static uint64_t last_ran(int dir, const char *path, uint64_t *ret_sleeps)
{
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	if (proc_read_whole(dir, path, &text, NULL, &ignored) < 0)
		return 0;
	if (ret_sleeps)
		*ret_sleeps = sched_number(text, "nr_voluntary_switches");
	return sched_number(text, "se.exec_start");
}

static bool learn_clock(struct sched_clocks *c, int cpu)
{
	cpu_set_t there;

	if (c->known[cpu])
		return true;
	CPU_ZERO(&there);
	CPU_SET(cpu, &there);
	if (sched_setaffinity(0, sizeof(there), &there) < 0)
		return false;
	c->moved = true;
	sched_yield(); /* brings our own exec_start up to date */
	uint64_t ran = last_ran(c->self, "sched", NULL);
	c->ahead[cpu] = (int64_t)(ran - now_ns());
	return c->known[cpu] = ran != 0;
}

/* The processor that the thread ran on last (field 39 of stat), -1: unknown. */
static int last_processor(int proc, pid_t tid)
{
	char path[40];
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	snprintf(path, sizeof(path), "task/%d/stat", tid);
	if (proc_read_whole(proc, path, &text, NULL, &ignored) < 0)
		return -1;
	char *p = strrchr(text, ')');
	for (int field = 2; p && field < 39; field++)
		if ((p = strchr(p, ' ')))
			p++;
	int cpu = p ? atoi(p) : -1;
	return cpu < CPU_SETSIZE ? cpu : -1;
}

uint64_t slept_ns(struct sched_clocks *c, int proc, pid_t tid, uint64_t *ret_sleeps)
{
	int cpu = last_processor(proc, tid);
	char path[40];

	snprintf(path, sizeof(path), "task/%d/sched", tid);
	uint64_t ran = last_ran(proc, path, ret_sleeps);
	if (!ran || cpu < 0 || !learn_clock(c, cpu))
		return 0;
	int64_t slept = (int64_t)now_ns() + c->ahead[cpu] - (int64_t)ran;
	return slept > 0 ? (uint64_t)slept : 0;
}
