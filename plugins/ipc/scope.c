/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dump: what of an IPC namespace is the tree's. In a namespace of its own that
 * is everything. In one that it shares, what it uses: segments that it has
 * attached, what it created, operated, sent to or received from last, what it
 * waits for, and what the policy names. The kernel keeps no list of the users
 * of semaphores and queues, only of the last one: somebody else who used one
 * before is not noticed.
 */
#include "ipc.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define INITIAL_NAMESPACE 0xefffffffu /* its inode, in every kernel */

static ino_t namespace_of(const char *pid)
{
	char path[40];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%.12s/ns/ipc", pid);
	return stat(path, &st) < 0 ? 0 : st.st_ino;
}

bool scope_initial(void)
{
	return namespace_of("self") == INITIAL_NAMESPACE;
}

static pid_t parent_of(pid_t pid)
{
	char path[40], text[512];
	pid_t ppid = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = '\0';
	const char *end = strrchr(text, ')');
	if (end)
		sscanf(end, ") %*c %d", &ppid);
	return ppid;
}

/* crcore, and those who started it. */
static bool is_ours(pid_t pid)
{
	for (pid_t p = getpid(); p > 0; p = parent_of(p))
		if (p == pid)
			return true;
	return false;
}

static int by_pid(const void *a, const void *b)
{
	const pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return x < y ? -1 : x > y;
}

/* Of the tree's processes, sorted: all that there are are to be looked for among them. */
static pid_t *tree_pids(const struct ipc *s, size_t *ret_n)
{
	const struct crcore_task *t;
	pid_t *v = NULL;
	size_t n = 0;

	for (uint32_t i = 0; (t = s->host->task(s->ctx, i)) && GROW(v, n); i++)
		v[n++] = t->pid;
	if (n)
		qsort(v, n, sizeof(*v), by_pid);
	*ret_n = n;
	return v;
}

/* The same of those that is_ours() tells. */
static pid_t *our_pids(size_t *ret_n)
{
	pid_t *v = NULL;
	size_t n = 0;

	for (pid_t p = getpid(); p > 0 && GROW(v, n); p = parent_of(p))
		v[n++] = p;
	if (n)
		qsort(v, n, sizeof(*v), by_pid);
	*ret_n = n;
	return v;
}

pid_t scope_each_outside(const struct ipc *s, bool (*fn)(void *, pid_t), void *arg)
{
	size_t n, nours;
	cleanup_free pid_t *tree = tree_pids(s, &n), *ours = our_pids(&nours);
	ino_t own = namespace_of("self");
	DIR *d = opendir("/proc");
	struct dirent *e;
	pid_t found = 0;

	while (d && !found && (e = readdir(d))) {
		pid_t pid = (pid_t)atoi(e->d_name);
		if (pid <= 0 || (n && bsearch(&pid, tree, n, sizeof(pid), by_pid)) ||
		    (nours && bsearch(&pid, ours, nours, sizeof(pid), by_pid)) ||
		    namespace_of(e->d_name) != own)
			continue;
		if (fn(arg, pid))
			found = pid;
	}
	if (d)
		closedir(d);
	return found;
}

static bool any(void *arg, pid_t pid)
{
	return true;
}

void scope_forget(struct ipc *s)
{
	s->waits_known = false;
	s->own = OWN_UNKNOWN;
}

bool scope_all(struct ipc *s)
{
	pid_t other = 0;

	if (s->own != OWN_UNKNOWN)
		return s->own == OWN_YES;
	s->own = s->scope == SCOPE_ALL ? OWN_YES : OWN_NO;
	if (s->scope == SCOPE_AUTO && !scope_initial()) {
		other = scope_each_outside(s, any, NULL);
		s->own = other ? OWN_NO : OWN_YES;
	}
	if (other)
		s->host->log(s->ctx, 3, "process %d is in the IPC namespace too: only what the tree uses "
		             "is saved", other);
	return s->own == OWN_YES;
}

/* ---- who uses it? ---- */

struct wait { enum sort sort; int id; };

/* The call that a thread sleeps in, or would. */
static bool read_wait(pid_t pid, pid_t tid, struct wait *ret)
{
	char path[64], text[80] = "";
	unsigned long first = 0;
	long nr = -1;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 ||
	    sscanf(text, "%ld %lx", &nr, &first) != 2)
		return false;
	*ret = (struct wait){ nr == SYS_semop || nr == SYS_semtimedop ? SEM : MSG, (int)first };
	return ret->sort == SEM || nr == SYS_msgrcv || nr == SYS_msgsnd;
}

static void find_waits(struct ipc *s)
{
	const struct crcore_task *t;
	struct wait w;

	s->waits_known = true;
	s->nwaits = 0;
	for (uint32_t i = 0; (t = s->host->task(s->ctx, i)); i++)
		for (uint32_t k = 0; k < t->nthreads; k++)
			if (read_wait(t->pid, t->tids[k], &w) && GROW(s->waits, s->nwaits))
				s->waits[s->nwaits++] = w;
}

/* Does a task of the tree sleep in a call on the object? */
static bool is_waited_for(struct ipc *s, enum sort sort, int id)
{
	if (!s->waits_known)
		find_waits(s);
	for (unsigned i = 0; i < s->nwaits; i++)
		if (s->waits[i].sort == sort && s->waits[i].id == id)
			return true;
	return false;
}

static bool is_alive_outside(const struct ipc *s, pid_t pid)
{
	char text[16];

	if (pid <= 0 || ipc_task(s, pid) || is_ours(pid))
		return false;
	snprintf(text, sizeof(text), "%d", pid);
	return namespace_of(text) == namespace_of("self");
}

static void judge_pid(const struct ipc *s, pid_t pid, bool *inside, pid_t *outside)
{
	if (pid > 0 && ipc_task(s, pid))
		*inside = true;
	else if (is_alive_outside(s, pid))
		*outside = pid;
}

static void judge_sem(struct ipc *s, const struct entry *e, bool *inside, pid_t *outside)
{
	for (uint64_t i = 0; i < e->size; i++)
		judge_pid(s, semctl(e->id, (int)i, GETPID), inside, outside);
	*inside = *inside || is_waited_for(s, SEM, e->id);
}

static void judge(struct ipc *s, enum sort sort, const struct entry *e, bool *inside,
                  pid_t *outside)
{
	pid_t created = 0;

	switch (sort) {
	case SHM: /* who has it attached, review() compares */
		*inside = shm_is_attached(s, e->id);
		if (!e->nattch)
			judge_pid(s, e->pids[0], inside, &created);
		break;
	case SEM:
		judge_sem(s, e, inside, outside);
		break;
	default:
		judge_pid(s, e->pids[0], inside, outside);
		judge_pid(s, e->pids[1], inside, outside);
		*inside = *inside || is_waited_for(s, MSG, e->id);
	}
}

/* The option include: "sem:0x1234" is a key, "sem:7" an id. */
static bool is_included(const struct ipc *s, enum sort sort, const struct entry *e)
{
	for (unsigned i = 0; s->include && s->include[i]; i++) {
		const char *text = s->include[i];
		if (strncmp(text, sort_names[sort], 3) != 0 || text[3] != ':')
			continue;
		uint32_t n = (uint32_t)strtoul(text + 4, NULL, 0);
		if (!strncmp(text + 4, "0x", 2) ? e->key == n : (uint32_t)e->id == n)
			return true;
	}
	return false;
}

int scope_shared(const struct ipc *s, enum sort sort, int id, pid_t by, const char *how,
                 struct crcore_error *err)
{
	if (s->shared == SHARED_KEEP)
		return 1;
	crcore_fail_at(err, -1, -1, "System V %s %d", sort_names[sort], id);
	crcore_advise(err, "dump a tree that contains process %d, or set shared: keep for ipc in the "
	              "policy: it is then used as it is when the tree is restored", by);
	return crcore_fail(err, -EBUSY, "process %d, which is not in the tree, %s", by, how);
}

static int take(struct ipc *s, enum sort sort, const struct entry *e, struct used **v, unsigned *n,
                struct crcore_error *err)
{
	bool inside = false;
	pid_t outside = 0;
	int r = 0;

	judge(s, sort, e, &inside, &outside);
	if (!inside && !scope_all(s) && !is_included(s, sort, e))
		return 0;
	if (outside)
		r = scope_shared(s, sort, e->id, outside, "used it too", err);
	if (r < 0)
		return r;
	if (!GROW(*v, *n))
		return crcore_no_memory(err);
	(*v)[(*n)++] = (struct used){ *e, r == 1 };
	return 0;
}

int scope_list(struct ipc *s, enum sort sort, struct used **ret, unsigned *ret_n,
               struct crcore_error *err)
{
	struct list l;
	int r = ipc_list(sort, &l, err);

	*ret = NULL;
	*ret_n = 0;
	for (unsigned i = 0; r == 0 && i < l.n; i++)
		r = take(s, sort, &l.v[i], ret, ret_n, err);
	free(l.v);
	if (r < 0) {
		free(*ret);
		*ret = NULL;
	}
	return r;
}

/* The tree still runs: what is shared is refused before it is frozen. */
int ipc_observe(void *state, struct crcore_error *err)
{
	struct ipc *s = state;
	int r = 0;

	scope_forget(s);
	for (enum sort sort = SEM; r == 0 && sort < NSORTS; sort++) {
		struct used *v;
		unsigned n;
		r = scope_list(s, sort, &v, &n, err);
		if (r == 0)
			free(v);
	}
	return r;
}

/* ---- segments ---- */

static bool has_attached(void *arg, pid_t pid)
{
	const struct stat *st = arg;
	char path[40], line[512];
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	FILE *f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		unsigned long long ino = 0;
		found = strstr(line, "/SYSV") &&
		        sscanf(line, "%*s %*s %*s %*s %llu", &ino) == 1 && ino == st->st_ino;
	}
	if (f)
		fclose(f);
	return found;
}

pid_t scope_attached_by(const struct ipc *s, const struct stat *st)
{
	return scope_each_outside(s, has_attached, (void *)st);
}
