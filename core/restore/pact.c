/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All or nothing at the very end: the tasks of a restored tree die with their tracer
 * (PTRACE_O_EXITKILL) until each is told otherwise, one after the other. Should we be
 * killed in the middle of that, a guard ends those that would live on. One word says
 * that the tree is to be kept.
 */
#include <signal.h>
#include <sys/mman.h>
#include "core/restore/restore.h"
#include "core/util/guard.h"

struct pact {
	struct guard guard;
	const struct restore *r;
	bool kept; /* by then all tasks live without us */
};

static void end_all(void *arg)
{
	const struct pact *p = arg;

	for (unsigned i = 0; !p->kept && i < p->r->births.n; i++)
		if (is_live(&p->r->stubs[i]))
			kill(p->r->births.v[i].pid, SIGKILL);
}

int pact_begin(struct restore *r, struct crcore_error *err)
{
	if (r->births.n < 2) /* the threads of one process die together */
		return 0;
	struct pact *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	                      -1, 0);
	if (p == MAP_FAILED)
		return births_no_memory(err);
	p->r = r;
	int ret = guard_begin(&p->guard, end_all, p, err);
	if (ret < 0)
		munmap(p, sizeof(*p));
	else
		r->pact = p;
	return ret;
}

void pact_keep(struct restore *r)
{
	if (r->pact)
		__atomic_store_n(&r->pact->kept, true, __ATOMIC_SEQ_CST);
}

void pact_end(struct restore *r)
{
	if (!r->pact)
		return;
	guard_end(&r->pact->guard);
	munmap(r->pact, sizeof(*r->pact));
	r->pact = NULL;
}
