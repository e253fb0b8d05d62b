/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program of one process, from its birth to the last operation before it is
 * let go. The order is the point of this file:
 *
 *   what plugins must do first, memory that children inherit, children
 *   own memory, descriptors, directories
 *   sessions, groups, zombies               (barriers: program_family.c)
 *   threads, what plugins must do late, signals, timers, limits
 *   attributes and credentials              (from here on without privileges)
 *   all complete, timers run, the interrupted call goes on
 *
 * Where a plugin has something that a thread must do last (program_held.c) its
 * credentials come after that, and after "all complete".
 */
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/restore/restore.h"

/* ---- those that only come to go ----------------------------------------------------- */

static void set_zombie_identity(struct stub *s)
{
	char comm[16] = "";

	snprintf(comm, sizeof(comm), "%s", s->rec->comm ? s->rec->comm : "");
	CALL(s->p, "set name", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_NAME),
	     DATA(prog_data(s->p, comm, sizeof(comm))));
	if (s->rec->n_threads && s->rec->threads[0]->creds)
		creds_build(s->p, s->r->own, s->rec->threads[0]->creds);
}

/* A status as wait4(2) gives it; a core must not be written again. */
static void exit_as(struct stub *s, uint32_t status)
{
	if (WIFSIGNALED((int)status)) {
		CALL(s->p, "write no core", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_DUMPABLE), IMM(0));
		OP(s->p, "die by signal", OP_EXIT, EXPECT_ANY, 0, IMM(0), IMM(WTERMSIG((int)status)));
	} else {
		OP(s->p, "exit", OP_EXIT, EXPECT_ANY, 0, IMM(WEXITSTATUS((int)status)), IMM(0));
	}
}

static int passer_by_build(struct stub *s, struct crcore_error *err)
{
	int r = spawn_children(s, err);

	if (r < 0)
		return r;
	family_build(s);
	if (s->rec)
		set_zombie_identity(s);
	exit_as(s, s->rec ? s->rec->exit_code : 0);
	return 0;
}

/* ---- living tasks --------------------------------------------------------------------- */

static void limits_build(struct stub *s)
{
	for (size_t i = 0; i < s->rec->n_rlimits; i++) {
		const Crcore__Rlimit *l = s->rec->rlimits[i];
		struct rlimit64 v = { l->soft, l->hard }, own;
		if (prlimit64(0, (enum __rlimit_resource)i, NULL, &own) == 0 &&
		    own.rlim_cur == v.rlim_cur && own.rlim_max == v.rlim_max && i != RLIMIT_NOFILE)
			continue;
		CALL(s->p, "set limit", SYS_prlimit64, EXPECT_EQUAL, 0, IMM(0), IMM(i),
		     DATA(prog_data(s->p, &v, sizeof(v))), IMM(0));
	}
}

static int body_build(struct stub *s, struct crcore_error *err)
{
	int r = host_emit(s->r->host, &s->r->tasks[s->r->births.v[s->birth].task], CRCORE_PHASE_BIRTH,
	                  s->p, err);

	if (r < 0 || (r = spawn_children(s, err)) < 0)
		return r;
	/* Its directories go through its descriptor table, which may not be touched any more once the
	 * one that it is shared with fills it. */
	if ((r = memory_build(s, err)) < 0 || (r = fs_build(s, err)) < 0 ||
	    (r = files_build(s, err)) < 0)
		return r;
	return host_emit(s->r->host, &s->r->tasks[s->r->births.v[s->birth].task], CRCORE_PHASE_FILES,
	                 s->p, err);
}

/* No descriptor of the coordinator's is needed any more. */
static void close_coordinator(struct stub *s)
{
	share_ready(s, SHARE_FILES_LATE);
	if (!s->files)
		return;
	share_wait(s, SHARE_FILES_LATE);
	CALL(s->p, "close the coordinator's pidfd", SYS_close, EXPECT_EQUAL, 0,
	     IMM(s->r->coordinator_fd));
	if (s->r->nbanks)
		CALL(s->p, "close the pidfds of banks", SYS_close_range, EXPECT_EQUAL, 0,
		     IMM(s->r->coordinator_fd + 1), IMM(s->r->coordinator_fd + s->r->nbanks), IMM(0));
}

static int late_build(struct stub *s, struct crcore_error *err)
{
	int r;

	threads_spawn(s);
	r = host_emit(s->r->host, &s->r->tasks[s->r->births.v[s->birth].task], CRCORE_PHASE_LATE, s->p,
	              err);
	if (r < 0)
		return r;
	close_coordinator(s);
	mm_close(s);
	signals_build(s);
	pending_build(s, s->p, 0);
	r = timers_create(s, err);
	if (s->rec->subreaper)
		CALL(s->p, "be subreaper", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_CHILD_SUBREAPER), IMM(1));
	return r;
}

/* suid_dumpable's 2 cannot be set by a task itself; it comes with the credentials. */
static void dumpable_build(struct stub *s)
{
	if (s->rec->n_threads > 1)
		OP(s->p, "wait for threads", OP_WAIT, EXPECT_ANY, 0, IMM(s->threads_word),
		   IMM(s->rec->n_threads - 1));
	if (s->mm && s->mm->dumpable < 2)
		CALL(s->p, "set dumpable", SYS_prctl, EXPECT_EQUAL, 0, IMM(PR_SET_DUMPABLE),
		     IMM(s->mm->dumpable));
}

static void rights_build(struct stub *s)
{
	thread_creds(s->p, s->r->own, s->rec->threads[0]);
	dumpable_build(s);
}

static int last_build(struct stub *s, struct crcore_error *err)
{
	int r = held_look(s, err);

	if (r < 0)
		return r;
	if (!s->held[0])
		rights_build(s);
	barrier_arrive(s, BUILT);
	if (s->rec->state != CRCORE__TASK_STATE__STOPPED)
		barrier_wait(s, s->p, BUILT);
	timers_arm(s);
	if (s->stop_word)
		OP(s->p, "be ready to stop", OP_POST, EXPECT_ANY, 0, IMM(s->stop_word), IMM(1));
	if (s->held[0]) {
		if ((r = held_build(s, s->p, 0, err)) < 0)
			return r;
		rights_build(s);
	}
	owners_build(s);
	held_end(s, s->p, 0);
	thread_resume(s, s->p, 0);
	return 0;
}

int process_build(struct stub *s, struct crcore_error *err)
{
	int r;

	if (s->birth == 0)
		first_begin(s);
	if (!s->rec || s->r->births.v[s->birth].zombie) {
		r = passer_by_build(s, err);
	} else {
		r = body_build(s, err);
		if (r < 0)
			return r;
		family_build(s);
		if ((r = late_build(s, err)) < 0)
			return r;
		limits_build(s);
		thread_attributes(s->p, s->r->own, s->rec->threads[0]);
		r = last_build(s, err);
	}
	return r < 0 ? r : arena_place(&s->r->arena, s->p, &s->at, err);
}
