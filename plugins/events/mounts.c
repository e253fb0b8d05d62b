/* SPDX-License-Identifier: Apache-2.0 */
/* Where what is watched is mounted: read once for each look at the tree, since every watch is
 * looked for among the mounts, and a machine with containers has thousands of both. */
#include "events.h"

#include <stdio.h>

/* Paths in mountinfo have spaces and the like as \040. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		unsigned c;
		if (s[0] == '\\' && sscanf(s + 1, "%3o", &c) == 1) {
			*to++ = (char)c;
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

static int add(struct mounts *m, const char *line)
{
	struct mount one = { 0 };
	char path[PATH_MAX];
	unsigned major, minor;

	if (sscanf(line, "%d %*d %u:%u %*s %4095s", &one.id, &major, &minor, path) != 4)
		return 0;
	unescape(path);
	one.sdev = major << 20 | minor;
	one.path = strdup(path);
	if (!one.path || !GROW(m->v, m->n)) {
		free(one.path);
		return -ENOMEM;
	}
	m->v[m->n++] = one;
	return 0;
}

const struct mounts *mounts_read(struct events *e)
{
	FILE *in = e->mounts.n ? NULL : fopen("/proc/self/mountinfo", "re");
	char *text = NULL;
	size_t size = 0;
	int r = 0;

	while (in && r == 0 && getline(&text, &size, in) > 0)
		r = add(&e->mounts, text);
	free(text);
	if (in)
		fclose(in);
	if (r < 0)
		mounts_forget(e);
	return &e->mounts;
}

void mounts_forget(struct events *e)
{
	for (unsigned i = 0; i < e->mounts.n; i++)
		free(e->mounts.v[i].path);
	free(e->mounts.v);
	e->mounts = (struct mounts){ 0 };
}
