/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refusals that concern a task as a whole: where it lives and who else has a
 * hand on it.
 */
#include <fcntl.h>
#include "core/dump/dump.h"
#include "core/util/util.h"

/* One that a restore can join need not be ours, but all tasks must share it: then it is
 * the first task's that we compare with. */
static void take_joined(const struct task *root, struct place *p)
{
	char link[sizeof(p->link)] = "";
	ssize_t n = readlinkat(root->proc, p->name, link, sizeof(link) - 1);

	p->of_root = n > 0 && !strcmp(link, p->link);
	if (n <= 0 || p->of_root)
		return;
	cleanup_close int fd = openat(root->proc, p->name, O_RDONLY | O_CLOEXEC);
	uint32_t type = fd < 0 ? 0 : namespace_type(fd);
	p->of_root = namespace_is_joinable(type) && !namespace_is_entered(type);
	if (p->of_root)
		memcpy(p->link, link, sizeof(link));
}

/* Is there one of that sort for those that a task is going to make? */
static bool has_children(int folder, const char *name)
{
	char path[300];

	snprintf(path, sizeof(path), "%s_for_children", name);
	return (!strcmp(name, "pid") || !strcmp(name, "time")) && !faccessat(folder, path, F_OK, 0);
}

static int read_ours(struct places *ours, struct crcore_error *err)
{
	int fd = open("/proc/self/ns", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		return crcore_fail(err, -errno, "cannot look at our namespaces: %s", strerror(errno));
	/* A task whose children live where we do lives there itself. */
	for (struct dirent *e; (e = readdir(dir)) && ours->n < PLACES;) {
		struct place *p = &ours->v[ours->n];
		if (e->d_name[0] == '.' || has_children(fd, e->d_name) ||
		    readlinkat(fd, e->d_name, p->link, sizeof(p->link) - 1) < 0)
			continue;
		snprintf(p->name, sizeof(p->name), "ns/%.30s", e->d_name);
		ours->n++;
	}
	return 0;
}

int places_ours(const struct task *root, struct places *ours, struct crcore_error *err)
{
	int r = ours->n ? 0 : read_ours(ours, err); /* we do not move after the first look */

	ours->root = root;
	for (unsigned i = 0; r == 0 && i < ours->n; i++)
		take_joined(root, &ours->v[i]);
	return r;
}

int places_enter(struct namespaces *ns, pid_t pid, struct host *host, struct crcore_error *err)
{
	int r = namespaces_of(ns, pid, err);

	/* Plugins are ours: there their names may lead to files of the tree's. */
	if (r == 0 && ns->n)
		r = host_load_rest(host, err);
	return r < 0 ? r : namespaces_enter(ns, false, err);
}

static int refuse_namespace(const struct task *t, const struct place *p, struct crcore_error *err)
{
	const char *name = p->name + strlen("ns/");
	const int len = (int)strcspn(name, "_");
	char own[40];

	snprintf(own, sizeof(own), "%.*s", len, name);
	if (name[len] && namespace_is_ours(t->proc, own)) {
		crcore_advise(err, "have a process of its own make that namespace (unshare --fork), and "
		              "dump what runs in there");
		return crcore_fail(err, -ENOTSUP, "its children are to live in another %s namespace than "
		                   "crcore", own);
	}
	crcore_advise(err, "run crcore in the same namespaces: nsenter -a -t %d crcore ...",
	              t->abi.pid);
	return crcore_fail(err, -ENOTSUP, "it lives in another %s namespace than crcore", own);
}

/* One that nobody lives in yet leads nowhere, as does all of a process that has ended. */
static bool is_to_come(const struct task *t, const struct place *p)
{
	char other[sizeof(p->link)];

	return strstr(p->name, "_for_children") &&
	       readlinkat(t->proc, "ns/mnt", other, sizeof(other)) > 0;
}

/* A restore makes tasks in the namespaces of crcore itself, so a task must live there. */
static int check_namespaces(const struct task *t, const struct places *ours,
                            struct crcore_error *err)
{
	char theirs[sizeof(ours->v[0].link)];

	if (t != ours->root && alike_same(t, ours->root, ALIKE_NAMESPACES, 3))
		return 0; /* what is said of the first task's is said of its */
	for (unsigned i = 0; i < ours->n; i++) {
		const struct place *p = &ours->v[i];
		if (t == ours->root && p->of_root)
			continue;
		ssize_t n = readlinkat(t->proc, p->name, theirs, sizeof(theirs) - 1);
		if (n < 0) {
			int e = errno == ENOENT ? ESRCH : errno; /* it has ended meanwhile */
			if (e == ESRCH && is_to_come(t, p))
				return refuse_namespace(t, p, err);
			return crcore_fail(err, -e, "cannot look at its namespaces: %s", strerror(e));
		}
		theirs[n] = '\0';
		if (!strcmp(theirs, p->link))
			continue;
		return refuse_namespace(t, p, err);
	}
	return 0;
}

static void take_status(struct task *t, const char *status)
{
	const char *mask = proc_field(status, "Umask"), *anon = proc_field(status, "RssAnon");

	t->umask = mask ? (uint32_t)strtoul(mask, NULL, 8) : 0;
	t->anon_kib = anon ? strtoull(anon, NULL, 10) : 0;
}

/* Pointers of which the processor ignores some bits (LAM). */
static int check_pointers(const char *status, struct crcore_error *err)
{
	const char *mask = proc_field(status, "untag_mask");

	if (!mask || strtoull(mask, NULL, 16) == UINT64_MAX)
		return 0;
	crcore_advise(err, "run the program without them (ARCH_ENABLE_TAGGED_ADDR)");
	return crcore_fail(err, -ENOTSUP, "it uses tagged pointers, which are not saved yet");
}

static int check_status(struct task *t, bool filters, struct crcore_error *err)
{
	free(STEAL(t->status));
	int r = proc_read_whole(t->proc, "status", &t->status, NULL, err);
	if (r < 0)
		return r;
	const char *status = t->status;
	take_status(t, status);

	const char *tracer = proc_field(status, "TracerPid"), *seccomp = proc_field(status, "Seccomp");
	pid_t by = tracer ? atoi(tracer) : 0;
	if (by && by != getpid()) {
		crcore_advise(err, "end the tracer (a debugger, strace) or let it detach first");
		return crcore_fail(err, -EBUSY, "it is traced by process %d", by);
	}
	if (!filters && seccomp && *seccomp != '0') {
		crcore_advise(err, "load a plugin that keeps it: --plugins=+seccomp");
		return crcore_fail(err, -ENOTSUP, "it runs under seccomp, which no plugin that is loaded "
		                   "keeps");
	}
	return check_pointers(status, err);
}

int task_check_place(struct task *t, const struct places *ours, bool filters,
                     struct crcore_error *err)
{
	int r = 0;

	if (t->abi.state != CRCORE_TASK_ZOMBIE && (r = check_status(t, filters, err)) == 0)
		r = check_namespaces(t, ours, err);
	if (r < 0)
		crcore_fail_at(err, t->abi.pid, -1, "task %s", t->comm);
	return r;
}

static bool is_outside(const struct tree *tree, pid_t leader)
{
	return leader != 0 && !tree_find(tree, leader);
}

int tree_check_session(const struct tree *tree, bool shell_job, struct crcore_error *err)
{
	const struct task *root = tree->tasks[0];
	bool sid = is_outside(tree, root->abi.sid), pgid = is_outside(tree, root->abi.pgid);

	if (!shell_job && (sid || pgid)) {
		crcore_fail_at(err, root->abi.pid, -1, "task %s", root->comm);
		crcore_advise(err, "start it with setsid, or use --shell-job if it may join "
		              "the session of whoever restores it");
		return crcore_fail(err, -ENOTSUP, "its %s %d is led from outside the tree",
		                   sid ? "session" : "process group", sid ? root->abi.sid : root->abi.pgid);
	}
	for (unsigned i = 1; i < tree->ntasks; i++) {
		const struct task *t = tree->tasks[i];
		char path[32];
		snprintf(path, sizeof(path), "/proc/%d", t->abi.sid);
		if (t->abi.sid != root->abi.sid && is_outside(tree, t->abi.sid) && !access(path, F_OK)) {
			crcore_fail_at(err, t->abi.pid, -1, "task %s", t->comm);
			crcore_advise(err, "save the tree that holds process %d too", t->abi.sid);
			return crcore_fail(err, -ENOTSUP, "its session %d is led from outside the tree",
			                   t->abi.sid);
		}
	}
	return 0;
}
