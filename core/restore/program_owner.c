/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptions that tell of events by signals. The owner is somebody whom the
 * task may signal, so a task that has the description sets it, as nearly the
 * last it does: everybody exists then, and its credentials are its own.
 */
#include <fcntl.h>
#include <sys/syscall.h>
#include "core/restore/restore.h"

/* Whose program sets it, and by which descriptor. */
int owners_find(struct restore *r, struct crcore_error *err)
{
	for (unsigned i = 0; i < r->births.n; i++) {
		const struct stub *s = &r->stubs[i];
		for (size_t k = 0; s->files && k < s->files->n_fds; k++) {
			struct object_fd *o = object_find(r, s->files->fds[k]->object);
			if (!o || !o->rec->owner || o->has_owner)
				continue;
			if (!GROW(r->owners, r->nowners))
				return crcore_no_memory(err);
			o->has_owner = true;
			r->owners[r->nowners++] = (struct owner){ i, s->files->fds[k]->fd, o->rec->owner };
		}
	}
	return 0;
}

static void owner_build(prog *p, const struct owner *o)
{
	const struct f_owner_ex who = { .type = (int)o->rec->type, .pid = (pid_t)o->rec->pid };

	if (who.pid)
		CALL(p, "set owner of a descriptor", SYS_fcntl, EXPECT_EQUAL, 0, IMM(o->fd),
		     IMM(F_SETOWN_EX), DATA(prog_data(p, &who, sizeof(who))));
	if (o->rec->signal)
		CALL(p, "set signal of a descriptor", SYS_fcntl, EXPECT_EQUAL, 0, IMM(o->fd),
		     IMM(F_SETSIG), IMM(o->rec->signal));
	if (o->rec->async)
		CALL(p, "tell events by signals", SYS_fcntl, EXPECT_EQUAL, 0, IMM(o->fd), IMM(F_SETFL),
		     IMM(o->rec->flags));
}

void owners_build(struct stub *s)
{
	for (unsigned i = 0; i < s->r->nowners; i++)
		if (s->r->owners[i].birth == s->birth)
			owner_build(s->p, &s->r->owners[i]);
}
