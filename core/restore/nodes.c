/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NUMA policies on a machine with other nodes. The kernel takes of those that a policy names
 * the ones that are there (and allowed, cpuset(7)), which is as near as one comes to it; if none
 * is, it refuses. Relative nodes (MPOL_F_RELATIVE_NODES) are always there.
 */
#include <linux/mempolicy.h>
#include "core/restore/restore.h"
#include "core/task/task.h"

static bool is_lacking(const uint8_t *allowed, uint32_t policy, const ProtobufCBinaryData *nodes)
{
	bool some = false, there = false;

	for (size_t i = 0; i < nodes->len && i < NODES / 8; i++) {
		some |= nodes->data[i];
		there |= nodes->data[i] & allowed[i];
	}
	return some && !there && !(policy & MPOL_F_RELATIVE_NODES);
}

static unsigned first_node(const ProtobufCBinaryData *nodes)
{
	unsigned i = 0;

	while (!(nodes->data[i / 8] >> i % 8 & 1))
		i++;
	return i;
}

static int fit(const uint8_t *allowed, bool any, uint32_t *policy, ProtobufCBinaryData *nodes,
               struct crcore_error *err)
{
	if (!is_lacking(allowed, *policy, nodes))
		return 0;
	if (!any) {
		crcore_advise(err, "restore where crcore may use that node, or set restore.memory-nodes "
		              "to any, which leaves such policies out");
		return crcore_fail(err, -ENODEV, "its memory policy is for nodes that are not there (%u)",
		                   first_node(nodes));
	}
	*policy = 0;
	free(nodes->data);
	*nodes = (ProtobufCBinaryData){ 0 };
	return 0;
}

int nodes_fit(const struct core_records *rec, const uint8_t *allowed, bool any,
              struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < rec->ntasks; i++)
		for (size_t k = 0; r == 0 && k < rec->tasks[i]->n_threads; k++) {
			Crcore__Thread *t = rec->tasks[i]->threads[k];
			r = fit(allowed, any, &t->memory_policy, &t->memory_nodes, err);
			if (r < 0)
				crcore_fail_at(err, (pid_t)rec->tasks[i]->pid, -1, "thread %u", t->tid);
		}
	for (unsigned i = 0; r == 0 && i < rec->nmms; i++)
		for (size_t k = 0; r == 0 && k < rec->mms[i]->n_vmas; k++) {
			Crcore__Vma *v = rec->mms[i]->vmas[k];
			r = fit(allowed, any, &v->memory_policy, &v->memory_nodes, err);
			if (r < 0)
				crcore_fail_at(err, -1, -1, "memory %u: mapping %llx-%llx", rec->mms[i]->id,
				               (unsigned long long)v->start, (unsigned long long)v->end);
		}
	return r;
}
