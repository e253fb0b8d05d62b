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

static struct set *intern(struct cg *cg, char *text)
{
	struct set *old = known(cg, text);

	if (old) {
		free(text);
		return old;
	}
	struct set *s = GROW(cg->sets, cg->nsets) ? calloc(1, sizeof(*s)) : NULL;
	if (!s) {
		free(text);
		return NULL;
	}
	s->text = text;
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

static int read_thread(struct cg *cg, pid_t pid, pid_t tid)
{
	char name[64], *text;

	snprintf(name, sizeof(name), "/proc/%d/task/%d/cgroup", pid, tid);
	int r = read_whole(AT_FDCWD, name, &text);
	if (r == -ENOENT || r == -ESRCH) /* it has ended meanwhile, or there are no groups at all */
		return 0;
	if (r < 0)
		return r;
	if (!known(cg, text) && has_ended(pid, tid)) {
		free(text);
		return 0;
	}
	struct set *s = intern(cg, text);
	if (!s || !GROW(cg->members, cg->nmembers))
		return -ENOMEM;
	cg->members[cg->nmembers++] = (struct member){ pid, tid, s };
	return 0;
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
		for (uint32_t k = 0; r == 0 && k < t->nthreads; k++)
			r = read_thread(cg, t->pid, t->tids[k]);
		if (r < 0)
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
