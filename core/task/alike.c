/* SPDX-License-Identifier: Apache-2.0 */
/* See alike.h. */
#include <fcntl.h>
#include "core/task/alike.h"
#include "core/task/task.h"
#include "core/util/parallel.h"
#include "core/util/trace.h"
#include "core/util/util.h"

#define WORTH 32    /* tasks: to get ready takes as long as to look at them otherwise */
#define OTHERS 100  /* of the machine for each of them: the program is run for all */

void alike_open(struct alike_how *h)
{
	h->types = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);
	h->program = -1;
}

void alike_close(struct alike_how *h)
{
	if (h->types >= 0)
		close(STEAL_FD(h->types));
	if (h->program >= 0)
		close(STEAL_FD(h->program));
}

bool alike_is_worth_it(const struct tree *tree)
{
	long running, all;

	if (tree->ntasks < WORTH)
		return false;
	return !threads_of_machine(&running, &all) || all / OTHERS <= (long)tree->ntasks;
}

void alike_prepare(struct alike_how *h)
{
	struct crcore_error why = CRCORE_ERROR_INIT;
	uint64_t start = trace_start();

	h->program = alike_program(h->types, &why);
	if (h->program < 0)
		log_line(2, "what tasks share is told one by one: %s", why.message);
	else
		log_line(2, "what tasks share is told at once");
	trace_end(start, TRACE_HERE, "task", "learn where tasks keep what they have");
}

int alike_try(void)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct alike_how h;

	alike_open(&h);
	h.program = alike_program(h.types, &ignored);
	int r = h.program < 0 ? h.program : 0;
	alike_close(&h);
	return r;
}

static void take(struct tree *tree, const struct alike_words *w)
{
	struct task *t = tree_find(tree, (pid_t)w->pid);

	if (!t)
		return;
	t->alike.known = true;
	memcpy(t->alike.v, w->v, sizeof(w->v));
	t->abi.groups = w->v[ALIKE_GROUPS];
}

void alike_tell(const struct alike_how *h, struct tree *tree)
{
	struct alike_words v[256];
	ssize_t n;

	for (unsigned i = 0; i < tree->ntasks; i++) {
		tree->tasks[i]->alike.known = false;
		tree->tasks[i]->abi.groups = 0;
	}
	if (h->program < 0)
		return;
	cleanup_close int fd = alike_words(h->program);
	while (fd >= 0 && ((n = read(fd, v, sizeof(v))) > 0 ||
	                   (n < 0 && (errno == EAGAIN || errno == EINTR))))
		for (ssize_t i = 0; i < n / (ssize_t)sizeof(*v); i++)
			take(tree, &v[i]);
}

bool alike_same(const struct task *a, const struct task *b, enum alike_what from, unsigned n)
{
	return a->alike.known && b->alike.known &&
	       !memcmp(a->alike.v + from, b->alike.v + from, n * sizeof(*a->alike.v));
}

bool alike_unchanged(const struct alike *before, const struct alike *after)
{
	return before->known && after->known && before->v[ALIKE_MAPPINGS] &&
	       !memcmp(before->v, after->v, (ALIKE_MM + 1) * sizeof(*before->v));
}
