/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files of a group are settings, in the order in which the kernel accepts
 * them, and when: some must be there before a task can enter (a cpuset without
 * processors takes none), most only hinder those who build the tree.
 */
#include "settings.h"

#include <fnmatch.h>

const struct setting settings[] = {
	/* version 1 */
	{ "cpuset.cpus", EARLY }, { "cpuset.mems", EARLY },
	{ "cgroup.clone_children", EARLY },
	{ "cpu.rt_period_us", EARLY }, { "cpu.rt_runtime_us", EARLY },
	{ "devices.list", EARLY, DEVICES }, /* while there is no group below it */
	{ "net_cls.classid", EARLY }, { "net_prio.ifpriomap", EARLY, LINES },
	{ "notify_on_release", LATE },
	{ "cpuset.memory_migrate", LATE }, { "cpuset.memory_spread_page", LATE },
	{ "cpuset.memory_spread_slab", LATE }, { "cpuset.sched_load_balance", LATE },
	{ "cpuset.sched_relax_domain_level", LATE }, { "cpuset.mem_hardwall", LATE },
	{ "cpuset.cpu_exclusive", LATE }, { "cpuset.mem_exclusive", LATE },
	{ "cpu.shares", LATE }, { "cpu.cfs_period_us", LATE }, { "cpu.cfs_quota_us", LATE },
	{ "cpu.cfs_burst_us", LATE },
	{ "memory.limit_in_bytes", LATE }, { "memory.memsw.limit_in_bytes", LATE },
	{ "memory.soft_limit_in_bytes", LATE }, { "memory.kmem.tcp.limit_in_bytes", LATE },
	{ "memory.swappiness", LATE }, { "memory.move_charge_at_immigrate", LATE },
	{ "memory.oom_control", LATE, OOM },
	{ "blkio.weight", LATE }, { "blkio.weight_device", LATE, LINES },
	{ "blkio.bfq.weight", LATE }, { "blkio.bfq.weight_device", LATE, LINES },
	{ "blkio.throttle.*_device", LATE, LINES },
	{ "hugetlb.*.limit_in_bytes", LATE },
	/* version 2 */
	{ "cpuset.cpus.exclusive", EARLY }, { "cpuset.cpus.partition", LATE },
	{ "cgroup.max.depth", LATE }, { "cgroup.max.descendants", LATE }, { "cgroup.pressure", LATE },
	{ "cpu.weight", LATE }, { "cpu.max", LATE }, { "cpu.max.burst", LATE },
	{ "cpu.uclamp.min", LATE }, { "cpu.uclamp.max", LATE }, { "cpu.idle", LATE },
	{ "memory.min", LATE }, { "memory.low", LATE }, { "memory.high", LATE },
	{ "memory.max", LATE }, { "memory.swap.high", LATE }, { "memory.swap.max", LATE },
	{ "memory.zswap.max", LATE }, { "memory.zswap.writeback", LATE },
	{ "memory.oom.group", LATE },
	{ "io.weight", LATE, LINES }, { "io.max", LATE, LINES }, { "io.latency", LATE, LINES },
	{ "hugetlb.*.max", LATE },
	{ "misc.max", LATE, LINES }, { "rdma.max", LATE, LINES },
	/* both */
	{ "pids.max", LATE },
	/* gives the groups below their files: they come later */
	{ "cgroup.subtree_control", EARLY, CONTROL },
	{ NULL },
};

const struct setting *setting_find(const char *file)
{
	for (const struct setting *s = settings; s->name; s++)
		if (!fnmatch(s->name, file, 0))
			return s;
	return NULL;
}

/* ---- one value ------------------------------------------------------------------------ */

static bool same(const char *a, const char *b)
{
	size_t n = strcspn(a, "\n");

	return n == strcspn(b, "\n") && !memcmp(a, b, n) && (!a[n] || !a[n + 1]) &&
	       (!b[n] || !b[n + 1]);
}

static bool has_line(const char *text, const char *line, size_t len)
{
	for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
		if (strcspn(p, "\n") == len && !memcmp(p, line, len))
			return true;
	return false;
}

/* Writes each line of value that now does not have. */
static int write_lines(const struct hierarchy *h, const char *path, const char *file,
                       const char *now, const char *value)
{
	char line[256];
	int r = 0;

	for (const char *p = value; r == 0 && *p; p += strcspn(p, "\n"), p += *p == '\n') {
		size_t len = strcspn(p, "\n");
		if (!len || has_line(now, p, len))
			continue;
		if (len >= sizeof(line))
			return -EINVAL;
		memcpy(line, p, len);
		line[len] = '\0';
		r = group_write(h, path, file, line);
	}
	return r;
}

/* A group that allows all says "a *:* rwm". All can be allowed or forbidden only while
 * there are no groups below it; of a list, single lines always. */
static int write_devices(const struct hierarchy *h, const char *path, const char *now,
                         const char *value)
{
	int r;

	if (!strcmp(now, value))
		return 0;
	if (!strncmp(value, "a ", 2))
		return group_write(h, path, "devices.allow", "a");
	if (!strncmp(now, "a ", 2)) {
		now = "";
		r = group_write(h, path, "devices.deny", "a");
	} else {
		r = write_lines(h, path, "devices.deny", value, now);
	}
	return r < 0 ? r : write_lines(h, path, "devices.allow", now, value);
}

/* "cpu io" becomes "+cpu +io". */
static int write_control(const struct hierarchy *h, const char *path, const char *value)
{
	char text[512];
	size_t n = 0;

	for (const char *p = value; *p && *p != '\n';) {
		size_t len = strcspn(p, " \n");
		if (n + len + 3 > sizeof(text))
			return -EINVAL;
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s+%.*s", n ? " " : "", (int)len, p);
		p += len + (p[len] == ' ');
	}
	return n ? group_write(h, path, "cgroup.subtree_control", text) : 0;
}

int setting_write(const struct hierarchy *h, const char *path, const char *file, const char *value)
{
	const struct setting *s = setting_find(file);
	cleanup_close int dir = group_open(h, path, NULL, O_PATH | O_DIRECTORY);
	cleanup_free char *now = NULL;
	int r = !s ? -EINVAL : dir < 0 ? dir : read_whole(dir, file, &now);

	if (r < 0)
		return r;
	switch (s->how) {
	case LINES: return write_lines(h, path, file, now, value);
	case DEVICES: return write_devices(h, path, now, value);
	case CONTROL: return same(now, value) ? 0 : write_control(h, path, value);
	case OOM: /* "oom_kill_disable 1\nunder_oom 0\n..." */
		if (!strncmp(now, value, strcspn(value, "\n")))
			return 0;
		return group_write(h, path, file, strstr(value, "oom_kill_disable 1") ? "1" : "0");
	default: return same(now, value) ? 0 : group_write(h, path, file, value);
	}
}
