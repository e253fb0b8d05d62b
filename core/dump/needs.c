/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What crcore needs of the kernel and of its own capabilities. A capability is
 * looked up; a feature of the kernel is tried out, never derived from a version.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "core/dump/dump.h"
#include "core/util/capability.h"
#include "core/util/util.h"

static int try_kcmp(void)
{
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_VM, 0, 0) < 0 ? -errno : 0;
}

static int try_pidfd_getfd(void)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	cleanup_close int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, pidfd, 0);

	return fd < 0 ? -errno : 0;
}

static int try_map_files(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char path[64];

	if (p == MAP_FAILED)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
	         (unsigned long)(p + PAGE));
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	int r = fd < 0 ? -errno : 0;
	munmap(p, PAGE);
	return r;
}

static int try_futex_waitv(void)
{
	return syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) < 0 && errno == ENOSYS ? -ENOSYS : 0;
}

static int try_children(void)
{
	return access("/proc/thread-self/children", R_OK) < 0 ? -errno : 0;
}

static const struct {
	const char *what;
	int capability;       /* -1: a feature */
	int (*try_out)(void);
	const char *costs;    /* what goes without it */
	bool required;
} needs[] = {
	{ "CAP_SYS_PTRACE", CAP_SYS_PTRACE, NULL, "no task can be seized", true },
	{ "CAP_CHECKPOINT_RESTORE", CAP_CHECKPOINT_RESTORE, NULL,
	  "no memory can be mapped into a task, no pid be chosen", true },
	{ "CAP_SYS_ADMIN", CAP_SYS_ADMIN, NULL,
	  "pages shared copy-on-write cannot be told and are stored once per task", false },
	{ "CAP_SYS_RESOURCE", CAP_SYS_RESOURCE, NULL,
	  "limits above crcore's own and lower oom_score_adj cannot be restored", false },
	{ "kcmp", -1, try_kcmp, "what tasks share cannot be told", true },
	{ "pidfd_getfd", -1, try_pidfd_getfd, "descriptors cannot be reached", true },
	{ "/proc/PID/map_files", -1, try_map_files, "regions cannot be shared with a task", true },
	{ "/proc/PID/task/TID/children", -1, try_children, "the tree cannot be found", true },
	{ "futex_waitv", -1, try_futex_waitv,
	  "tasks do not go back to work by themselves if the worker is killed", false },
	{ "what tasks share", -1, alike_try, "it is told one by one, which takes 60 us for each task",
	  false },
	{ "flags of mappings", -1, flags_try,
	  "they are read from smaps, which takes 22 ms for a gigabyte", false },
};

unsigned needs_list(struct need_result *ret, unsigned max)
{
	unsigned n = 0;

	for (; n < ARRAY_SIZE(needs) && n < max; n++) {
		int r = needs[n].try_out ? needs[n].try_out()
		                         : has_capability(needs[n].capability) ? 0 : -EPERM;
		ret[n] = (struct need_result){ .what = needs[n].what, .ok = r == 0 };
		if (r < 0)
			snprintf(ret[n].why, sizeof(ret[n].why), "%s: %s",
			         needs[n].try_out ? strerror(-r) : "not held", needs[n].costs);
	}
	return n;
}

int needs_check(struct crcore_error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
		if (!needs[i].required || needs[i].try_out || has_capability(needs[i].capability))
			continue;
		crcore_fail_at(err, -1, -1, "%s", needs[i].what);
		crcore_advise(err, "run as root, or give crcore this capability");
		return crcore_fail(err, -EPERM, "this capability is missing: %s", needs[i].costs);
	}
	return 0;
}
