/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks of a tree by their pids: a hash table. In a tree of thousands each one that is
 * added, and each child that is listed again, is looked for among all.
 */
#include "core/task/task.h"
#include "core/task/tree.h"
#include "core/util/util.h"

/* Where the task with that pid is noted, or is to be. Half of the slots are free, or more. */
static uint32_t *slot_of(const struct tree *tree, pid_t pid)
{
	unsigned i = ((uint32_t)pid * 2654435769u >> 7) & (tree->nslots - 1);

	while (tree->slots[i] && tree->tasks[tree->slots[i] - 1]->abi.pid != pid)
		i = (i + 1) & (tree->nslots - 1);
	return &tree->slots[i];
}

static void note_tasks(struct tree *tree, unsigned from)
{
	for (unsigned i = from; i < tree->ntasks; i++) {
		uint32_t *slot = slot_of(tree, tree->tasks[i]->abi.pid);
		if (!*slot)
			*slot = i + 1;
	}
}

int tree_note(struct tree *tree, struct crcore_error *err)
{
	if (2 * tree->ntasks <= tree->nslots) {
		note_tasks(tree, tree->ntasks - 1);
		return 0;
	}
	const unsigned n = tree->nslots ? 2 * tree->nslots : 64;
	uint32_t *slots = calloc(n, sizeof(*slots));
	if (!slots)
		return crcore_no_memory(err);
	free(tree->slots);
	tree->slots = slots;
	tree->nslots = n;
	note_tasks(tree, 0);
	return 0;
}

void tree_note_again(struct tree *tree)
{
	memset(tree->slots, 0, tree->nslots * sizeof(*tree->slots));
	note_tasks(tree, 0);
}

struct task *tree_find(const struct tree *tree, pid_t pid)
{
	uint32_t at = tree->nslots ? *slot_of(tree, pid) : 0;

	return at ? tree->tasks[at - 1] : NULL;
}
