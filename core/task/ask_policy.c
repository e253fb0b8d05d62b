/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory policies of single mappings (mbind(2)): pieces of ask.c. Each mapping of which it is not
 * known that it has none costs the frozen task one system call; where there are many, the kernel's
 * words (core/memory/flags.h) leave those over that have one. What set_mempolicy_home_node(2)
 * adds to a policy no system call tells: it is lost.
 */
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include "core/task/task.h"
#include "core/util/util.h"

void policies_ask(struct mm *mm, prog *p)
{
	if (syscall(SYS_get_mempolicy, NULL, NULL, 0, NULL, 0) < 0)
		mm->npolicies = 0; /* a kernel for one node */
	for (unsigned i = 0; i < mm->npolicies; i++) {
		struct policy_question *q = &mm->policies[i];
		q->mode = prog_data(p, NULL, 8);
		q->nodes = prog_data(p, NULL, NODES / 8);
		q->op = CALL(p, "ask memory policy of a mapping", SYS_get_mempolicy, EXPECT_ANY, 0,
		             DATA(q->mode), DATA(q->nodes), IMM(NODES), IMM(mm->rec->vmas[q->vma]->start),
		             IMM(MPOL_F_ADDR));
	}
}

int policies_answers(struct mm *mm, const prog *p, struct crcore_error *err)
{
	for (unsigned i = 0; i < mm->npolicies; i++) {
		const struct policy_question *q = &mm->policies[i];
		const uint32_t *mode = prog_answer(p, q->mode);
		Crcore__Vma *v = mm->rec->vmas[q->vma];
		if (prog_result(p, q->op) < 0 || *mode == MPOL_DEFAULT)
			continue;
		v->memory_policy = *mode;
		v->memory_nodes.data = malloc(NODES / 8);
		if (!v->memory_nodes.data)
			return crcore_no_memory(err);
		memcpy(v->memory_nodes.data, prog_answer(p, q->nodes), v->memory_nodes.len = NODES / 8);
	}
	return 0;
}
