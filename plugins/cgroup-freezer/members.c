/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In which groups the threads of the tree are. As a rule all of them are in the
 * same ones, so what is kept is one text for each different set. A set that is
 * crcore's own needs no look at any hierarchy.
 */
#include "cgroup-freezer.h"

static struct set *known(const struct cg *cg, const char *text)
{
	for (unsigned i = 0; i < cg->nsets; i++)
		if (!strcmp(cg->sets[i]->text, text))
			return cg->sets[i];
	return NULL;
}

static struct set *add_set(struct cg *cg, const char *text)
{
	struct set *s = GROW(cg->sets, cg->nsets) ? calloc(1, sizeof(*s)) : NULL;

	if (!s || !(s->text = strdup(text))) {
		free(s);
		return NULL;
	}
	s->own = cg->own && !strcmp(text, cg->own);
	s->id = ++cg->nsets;
	cg->sets[s->id - 1] = s;
	return s;
}

#define PF_EXITING 4 /* of the kernel */

/* One that ends is shown in the root of every hierarchy. */
static bool has_ended(pid_t pid, pid_t tid)
{
	cleanup_free char *text = NULL;
	unsigned long flags;
	char name[64], *p;

	snprintf(name, sizeof(name), "/proc/%d/task/%d/stat", pid, tid);
	return read_whole(AT_FDCWD, name, &text) < 0 || !(p = strrchr(text, ')')) ||
	       sscanf(p, ") %*c %*d %*d %*d %*d %*d %lu", &flags) != 1 || (flags & PF_EXITING);
}

/* In buf, if it fits there: then it came at once, and the end need not be asked for. *ret_long:
 * the text if it does not; free it. */
static int read_groups(pid_t pid, pid_t tid, char *buf, size_t size, char **ret_long)
{
	char name[64];

	*ret_long = NULL;
	if (pid == tid)
		snprintf(name, sizeof(name), "/proc/%d/cgroup", pid);
	else
		snprintf(name, sizeof(name), "/proc/%d/task/%d/cgroup", pid, tid);
	cleanup_close int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size);
	if (n < 0)
		return -errno;
	if (n == (ssize_t)size)
		return read_whole(AT_FDCWD, name, ret_long);
	buf[n] = '\0';
	return 0;
}

static int add_member(struct cg *cg, pid_t pid, pid_t tid, struct set *s)
{
	if (!s || !GROW(cg->members, cg->nmembers))
		return -ENOMEM;
	cg->members[cg->nmembers++] = (struct member){ pid, tid, s };
	return 0;
}

/* groups: as crcore calls them, 0: it does not. They are those of others, too: what is seen of a
 * thread that ends does not go for them. */
static int read_thread(struct cg *cg, pid_t pid, pid_t tid, uint64_t groups)
{
	cleanup_free char *long_text = NULL;
	char buf[4096];
	int r = read_groups(pid, tid, buf, sizeof(buf), &long_text);
	const char *text = long_text ? long_text : buf;

	if (r == -ENOENT || r == -ESRCH) /* it has ended meanwhile, or there are no groups at all */
		return 0;
	if (r < 0)
		return r;
	struct set *s = known(cg, text);
	bool ended = (!s || groups) && has_ended(pid, tid);
	if (!s && ended)
		return 0;
	if (!s)
		s = add_set(cg, text);
	if (s && groups && !ended)
		s->groups = groups;
	return add_member(cg, pid, tid, s);
}

static struct set *named(const struct cg *cg, uint64_t groups)
{
	for (unsigned i = 0; groups && i < cg->nsets; i++)
		if (cg->sets[i]->groups == groups)
			return cg->sets[i];
	return NULL;
}

/* Of the groups of many tasks crcore knows that they are those of an earlier one. */
static int read_task(struct cg *cg, const struct crcore_task *t)
{
	const uint64_t groups = CRCORE_HAS(t, groups) ? t->groups : 0;
	struct set *same = named(cg, groups);
	int r = 0;

	for (uint32_t k = 0; r == 0 && k < t->nthreads; k++)
		if (k == 0 && same)
			r = add_member(cg, t->pid, t->tids[k], same);
		else
			r = read_thread(cg, t->pid, t->tids[k], k == 0 ? groups : 0);
	return r;
}

int members_read(struct cg *cg, struct crcore_error *err)
{
	const struct crcore_task *t;
	int r = cg->own ? 0 : read_whole(AT_FDCWD, "/proc/self/cgroup", &cg->own);

	if (r == -ENOENT) /* a kernel without */
		return 0;
	members_free(cg);
	for (uint32_t i = 0; r == 0 && (t = cg->host->task(cg->ctx, i)); i++) {
		if (i == 0)
			cg->root = t->pid;
		if (t->state == CRCORE_TASK_ZOMBIE)
			continue;
		if ((r = read_task(cg, t)) < 0)
			crcore_fail_at(err, t->pid, -1, "task %s", t->comm);
	}
	return r < 0 ? crcore_fail(err, r, "cannot see its control groups: %s", strerror(-r)) : 0;
}

void members_free(struct cg *cg)
{
	for (unsigned i = 0; i < cg->nsets; i++) {
		free(cg->sets[i]->text);
		free(cg->sets[i]);
	}
	free(cg->sets);
	free(cg->members);
	cg->sets = NULL;
	cg->members = NULL;
	cg->nsets = cg->nmembers = 0;
}

bool members_elsewhere(const struct cg *cg)
{
	for (unsigned i = 0; i < cg->nsets; i++)
		if (!cg->sets[i]->own)
			return true;
	return false;
}

const char *set_path(const struct set *s, const struct hierarchy *h, size_t *ret_len)
{
	size_t n = strlen(h->key);

	for (const char *l = s->text; l && *l; l = strchr(l, '\n'), l = l ? l + 1 : NULL) {
		const char *key = strchr(l, ':');
		if (!key || strncmp(key + 1, h->key, n) || key[1 + n] != ':')
			continue;
		*ret_len = strcspn(key + 2 + n, "\n");
		return key + 2 + n;
	}
	return NULL;
}
