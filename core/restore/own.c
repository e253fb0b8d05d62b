/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this process is like. Stubs inherit it, so an attribute that a thread
 * had in common with crcore needs no operation, and most threads have nearly
 * all in common. Also which newer services the kernel has.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include "core/restore/restore.h"
#include "core/task/task.h"

#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS 77
#endif
#define IOPRIO_WHO_PROCESS 1

static int read_creds(struct own *o, struct crcore_error *err)
{
	cleanup_close int proc = open("/proc/thread-self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free char *status = NULL;
	Crcore__Creds *c = &o->creds;
	int r;

	if (proc < 0)
		return crcore_fail(err, -errno, "cannot open /proc/thread-self: %s", strerror(errno));
	r = proc_read(proc, "status", &status, NULL, err);
	if (r < 0)
		return r;
	if ((r = creds_read(status, c, err)) < 0)
		return r;
	int bits = prctl(PR_GET_SECUREBITS);
	c->securebits = bits < 0 ? 0 : (uint32_t)bits;
	return 0;
}

static bool try_anon_names(void)
{
	void *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return false;
	bool ok = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, PAGE, "test") == 0;
	munmap(p, PAGE);
	return ok;
}

static int read_oom_score_adj(void)
{
	cleanup_file FILE *f = fopen("/proc/self/oom_score_adj", "re");
	int v = 0;

	return f && fscanf(f, "%d", &v) == 1 ? v : 0;
}

static uint32_t read_coredump_filter(void)
{
	cleanup_file FILE *f = fopen("/proc/self/coredump_filter", "re");
	uint32_t v = 0;

	return f && fscanf(f, "%x", &v) == 1 ? v : 0;
}

int own_read(struct own **ret, struct crcore_error *err)
{
	struct own *o = calloc(1, sizeof(*o));

	if (!o)
		return crcore_no_memory(err);
	*ret = o;
	int r = read_creds(o, err);
	if (r < 0)
		return r;
	syscall(SYS_sched_getattr, 0, o->sched, sizeof(o->sched), 0);
	long n = syscall(SYS_sched_getaffinity, 0, sizeof(o->affinity), o->affinity);
	o->affinity_len = n < 0 ? 0 : (size_t)n;
	long prio = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);
	o->ioprio = prio < 0 ? 0 : (uint32_t)prio;
	syscall(SYS_get_mempolicy, &o->memory_policy, NULL, 0, NULL, 0);
	o->memory_merge = prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) == 1;
	o->personality = (uint32_t)syscall(SYS_personality, 0xffffffff);
	o->slack = (uint64_t)prctl(PR_GET_TIMERSLACK);
	o->oom_score_adj = read_oom_score_adj();
	o->coredump_filter = read_coredump_filter();
	int thp = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
	o->thp_disable = thp > 0 ? (uint32_t)thp : 0;
	o->restore_timer_ids = prctl(PR_TIMER_CREATE_RESTORE_IDS, 2 /* GET */, 0, 0, 0) >= 0;
	o->anon_names = try_anon_names();
	return 0;
}

bool groups_equal(const Crcore__Creds *a, const Crcore__Creds *b)
{
	return a->rgid == b->rgid && a->egid == b->egid && a->sgid == b->sgid && a->fsgid == b->fsgid &&
	       a->n_groups == b->n_groups &&
	       !(a->n_groups && memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)));
}

bool creds_equal(const Crcore__Creds *a, const Crcore__Creds *b)
{
	return a->ruid == b->ruid && a->euid == b->euid && a->suid == b->suid && a->fsuid == b->fsuid &&
	       a->inheritable == b->inheritable && a->permitted == b->permitted &&
	       a->effective == b->effective && a->bounding == b->bounding &&
	       a->ambient == b->ambient && a->securebits == b->securebits && groups_equal(a, b);
}
