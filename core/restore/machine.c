/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tree needs of this machine and of crcore's privileges. Whatever is
 * missing is refused here, by name, before anything exists.
 */
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "core/restore/restore.h"
#include "core/task/task.h"
#include "core/util/capability.h"

static int lacks(uint32_t cap, const char *what_for, struct crcore_error *err)
{
	char name[CAPABILITY_NAME_MAX];

	crcore_advise(err, "run crcore as root, or give it this capability");
	return crcore_fail(err, -EPERM, "%s is needed %s, and missing",
	                   capability_name((cap_value_t)cap, name), what_for);
}

static int need(uint32_t cap, const char *what_for, struct crcore_error *err)
{
	return has_capability((cap_value_t)cap) ? 0 : lacks(cap, what_for, err);
}

/* ---- vvar and vdso -------------------------------------------------------------------- */

static int check_vdso(struct restore *r, struct crcore_error *err)
{
	const Crcore__Vma *v[SPECIALS_MAX];
	bool some = false;

	for (unsigned i = 0; i < r->rec.nmms; i++) {
		if (!specials_match(&r->specials, r->rec.mms[i], v)) {
			crcore_fail_at(err, -1, -1, "vdso");
			crcore_advise(err, "restore under the kernel that the image was made on");
			return crcore_fail(err, -ENOTSUP, "this kernel maps other special pages into programs");
		}
		for (unsigned k = 0; k < SPECIALS_MAX; k++)
			some |= v[k] != NULL;
	}
	return some ? vdso_check(&r->manifest->vdso, err) : 0;
}

/* ---- credentials and limits -------------------------------------------------------------- */

static int check_caps(const struct own *own, const Crcore__Creds *c, struct crcore_error *err)
{
	uint64_t missing = (c->permitted | c->bounding | c->ambient) & ~own->creds.permitted;

	for (uint32_t cap = 0; cap < 64; cap++)
		if ((missing >> cap & 1) &&
		    ((c->permitted >> cap & 1) || !(own->creds.bounding >> cap & 1)))
			return lacks(cap, "because the task had it", err);
	return 0;
}

static int check_creds(const struct own *own, const Crcore__Creds *c, struct crcore_error *err)
{
	const Crcore__Creds *o = &own->creds;
	int r = 0;

	if (o->no_new_privs && !c->no_new_privs) {
		crcore_advise(err, "start crcore without it (systemd: NoNewPrivileges=no; docker: no "
		              "--security-opt no-new-privileges)");
		return crcore_fail(err, -EPERM, "crcore itself runs with no_new_privs, the task did not");
	}
	if (creds_equal(o, c))
		return 0;
	r = check_caps(own, c, err);
	if (r == 0 && (c->ruid != o->ruid || c->euid != o->euid || c->suid != o->suid))
		r = need(CAP_SETUID, "to restore the task's user", err);
	if (r == 0 && !groups_equal(o, c))
		r = need(CAP_SETGID, "to restore the task's groups", err);
	if (r == 0)
		r = need(CAP_SETPCAP, "to restore the task's capabilities", err);
	return r;
}

static const char *limit_text(uint64_t v, char ret[24])
{
	if (v == RLIM64_INFINITY)
		return "unlimited";
	snprintf(ret, 24, "%llu", (unsigned long long)v);
	return ret;
}

/* "Max open files": as /proc says, a line for each, by number, below a heading. */
static void limit_name(size_t which, char ret[26])
{
	cleanup_file FILE *f = fopen("/proc/self/limits", "re");
	char line[128] = "";

	for (size_t i = 0; f && i < which + 2 && fgets(line, sizeof(line), f); i++)
		;
	snprintf(ret, 26, "%.25s", line);
	for (size_t n = strlen(ret); n && ret[n - 1] == ' '; n--)
		ret[n - 1] = '\0';
}

static int refuse_limit(const Crcore__Task *t, size_t which, uint64_t own, struct crcore_error *err)
{
	char name[26], theirs[24], ours[24];

	limit_name(which, name);
	crcore_fail_at(err, (pid_t)t->pid, -1, "resource limit %zu, %s (%s)", which, name,
	               limit_text(t->rlimits[which]->hard, theirs));
	crcore_advise(err, "start crcore with a hard limit that is as high (ulimit -H, prlimit(1), "
	              "systemd.exec(5))");
	return crcore_fail(err, -EPERM, "is above crcore's own (%s), and without CAP_SYS_RESOURCE it "
	                   "cannot be raised", limit_text(own, ours));
}

static int check_limits(const Crcore__Task *t, struct crcore_error *err)
{
	for (size_t i = 0; i < t->n_rlimits; i++) {
		struct rlimit64 own;
		if (prlimit64(0, (enum __rlimit_resource)i, NULL, &own) == 0 &&
		    t->rlimits[i]->hard > own.rlim_max && !has_capability(CAP_SYS_RESOURCE))
			return refuse_limit(t, i, own.rlim_max, err);
	}
	return 0;
}

/* The scheduling class and nice of struct sched_attr, sched_setattr(2). */
static bool is_privileged_sched(const struct own *own, const Crcore__Thread *t)
{
	uint32_t policy = 0;
	int32_t nice = 0, own_nice;

	if (t->sched_attr.len < 20)
		return false;
	memcpy(&policy, t->sched_attr.data + 4, 4);
	memcpy(&nice, t->sched_attr.data + 16, 4);
	memcpy(&own_nice, own->sched + 16, 4);
	return policy == SCHED_FIFO || policy == SCHED_RR || policy == 6 /* deadline */ ||
	       nice < own_nice;
}

static int check_task(struct restore *r, const Crcore__Task *t, struct crcore_error *err)
{
	int ret = check_limits(t, err);

	if (ret == 0 && t->oom_score_adj < r->own->oom_score_adj)
		ret = need(CAP_SYS_RESOURCE, "to restore oom_score_adj", err);
	for (size_t i = 0; i < t->n_threads && ret == 0; i++) {
		if (t->threads[i]->creds)
			ret = check_creds(r->own, t->threads[i]->creds, err);
		if (ret == 0 && is_privileged_sched(r->own, t->threads[i]))
			ret = need(CAP_SYS_NICE, "to restore the scheduling", err);
	}
	if (ret < 0)
		crcore_fail_at(err, (pid_t)t->pid, -1, "task %u", t->pid);
	return ret;
}

/* ---- descriptors and the rest ---------------------------------------------------------------- */

/* The coordinator, its banks and the tasks may go up to the hard limit. */
static int check_descriptors(struct restore *r, struct crcore_error *err)
{
	struct rlimit l;
	uint64_t most = r->nobjects / BANKS_MAX * 4 / 3 + r->rec.nsegments + 64;
	/* and those by which the root has what it keeps, for a moment */
	const unsigned kept = kept_fds(r, BANKS_MAX, r->rec.nfiles < r->rec.ntasks) + BANKS_MAX + 2;

	getrlimit(RLIMIT_NOFILE, &l);
	const uint64_t end = free_descriptors(r, kept) + kept;
	most = end > most ? end : most;
	for (unsigned i = 0; i < r->rec.nfiles; i++)
		if (r->rec.files[i]->n_fds) {
			uint64_t fd = r->rec.files[i]->fds[r->rec.files[i]->n_fds - 1]->fd;
			most = fd + 1 > most ? fd + 1 : most;
		}
	if (most <= l.rlim_max)
		return 0;
	crcore_advise(err, "raise the hard limit of open files (ulimit -Hn) for crcore");
	return crcore_fail(err, -EMFILE, "needs %llu descriptors, the hard limit is %llu",
	                   (unsigned long long)most, (unsigned long long)l.rlim_max);
}

static int check_memory(const Crcore__Mm *mm, struct crcore_error *err)
{
	if (!mm->mdwe || prctl(PR_GET_MDWE, 0, 0, 0, 0) >= 0)
		return 0;
	crcore_fail_at(err, -1, -1, "memory %u", mm->id);
	crcore_advise(err, "restore under Linux 6.3 or newer");
	return crcore_fail(err, -ENOTSUP, "may have no writable code (PR_SET_MDWE), which this kernel "
	                   "does not know");
}

static int check_nodes(struct restore *r, struct crcore_error *err)
{
	const struct crcore_value *v = policy_core(r->cmd->policy, "restore.memory-nodes");
	uint8_t allowed[NODES / 8] = { 0 };

	/* refused by a kernel for one node, which knows no policies */
	syscall(SYS_get_mempolicy, NULL, allowed, NODES, NULL, MPOL_F_MEMS_ALLOWED);
	return nodes_fit(&r->rec, allowed, !strcmp(v->s, "any"), err);
}

static int check_plugins(struct restore *r, struct crcore_error *err)
{
	for (unsigned i = 0; i < r->host->nplugins; i++) {
		const struct crcore_plugin *p = &r->host->plugins[i]->p;
		for (const struct crcore_need *n = p->needs; n && n->what_for; n++)
			if (!has_capability(n->capability)) {
				snprintf(err->plugin, sizeof(err->plugin), "%s", p->name);
				crcore_fail_at(err, -1, -1, "%s", n->what_for);
				return lacks(n->capability, "for this", err);
			}
	}
	return 0;
}

int machine_check(struct restore *r, struct crcore_error *err)
{
	int ret = 0;

	if (!has_capability(CAP_CHECKPOINT_RESTORE) && !has_capability(CAP_SYS_ADMIN))
		ret = lacks(CAP_CHECKPOINT_RESTORE, "to choose pids", err);
	if (ret == 0)
		ret = need(CAP_SYS_PTRACE, "to set the registers of tasks", err);
	for (unsigned i = 0; i < r->rec.nfs && ret == 0; i++)
		if (r->rec.fs[i]->root)
			ret = need(CAP_SYS_CHROOT, "to restore a root directory", err);
	if (ret == 0 && (ret = cpu_check(&r->manifest->cpu, err)) == 0)
		ret = check_vdso(r, err);
	for (unsigned i = 0; i < r->rec.nmms && ret == 0; i++)
		ret = check_memory(r->rec.mms[i], err);
	if (ret == 0)
		ret = check_nodes(r, err);
	for (unsigned i = 0; i < r->rec.ntasks && ret == 0; i++)
		ret = check_task(r, r->rec.tasks[i], err);
	if (ret == 0 && (ret = check_plugins(r, err)) == 0)
		ret = check_descriptors(r, err);
	return ret;
}
