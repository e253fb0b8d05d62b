/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The program of alike.h: for each task it goes from one kernel object to the next, by where the
 * kernel says that it has its members (BTF), and writes down what it found. It may follow a
 * pointer to nowhere, or to what was freed just now: then it reads zero, or some number.
 *
 * The kernel lends the functions that it calls only to programs under the GPL; hence the first
 * line.
 */
#include "core/task/alike.h"
#include "core/util/bpf.h"
#include "core/util/btf.h"
#include "core/util/util.h"

#define ITERATOR "bpf_iter_task"
enum { CTX_META = 0, CTX_TASK = 8, META_SEQ = 0 }; /* bpf_iter__task, bpf_iter_meta */

/* Places on the frame, in words: struct alike_words, and what leads there. */
enum {
	TASK = -1, PID = 0, TOLD,
	NUMBERED = TOLD + ALIKES, CREDENTIALS, ID, GROUP_ID,
	SELF, SELF_NUMBERED, SELF_LEVEL, /* the task that asks */
	WORDS
};
#define PLACE(word) (8 * ((word) - WORDS))

/* What is read: a member of the struct that an earlier word points to. */
static const struct step {
	int to, from;
	const char *type, *member;
	int size, more; /* bytes of it, and in front of it */
	bool may_lack;  /* a kernel may have no such member: then zero */
} steps[] = {
	{ ID, TASK, "task_struct", "pid", 4, 0 },
	{ GROUP_ID, TASK, "task_struct", "tgid", 4, 0 },
	{ NUMBERED, TASK, "task_struct", "thread_pid", 8, 0 },
	{ SELF_NUMBERED, SELF, "task_struct", "thread_pid", 8, 0 },
	{ SELF_LEVEL, SELF_NUMBERED, "pid", "level", 4, 0 },
	{ TOLD + ALIKE_LEVEL, NUMBERED, "pid", "level", 4, 0 },
	{ TOLD + ALIKE_MM, TASK, "task_struct", "mm", 8, 0 },
	{ TOLD + ALIKE_MAPPINGS, TOLD + ALIKE_MM, "mm_struct", "mm_lock_seq", 4, 0, true },
	{ TOLD + ALIKE_BORN, TASK, "task_struct", "start_time", 8, 0 },
	{ TOLD + ALIKE_EXECS, TASK, "task_struct", "self_exec_id", 8, 0 },
	{ TOLD + ALIKE_FILES, TASK, "task_struct", "files", 8, 0 },
	{ TOLD + ALIKE_FS, TASK, "task_struct", "fs", 8, 0 },
	{ TOLD + ALIKE_SIGHAND, TASK, "task_struct", "sighand", 8, 0 },
	{ TOLD + ALIKE_NAMESPACES, TASK, "task_struct", "nsproxy", 8, 0 },
	{ TOLD + ALIKE_GROUPS, TASK, "task_struct", "cgroups", 8, 0 },
	{ CREDENTIALS, TASK, "task_struct", "real_cred", 8, 0 },
	{ TOLD + ALIKE_USERS, CREDENTIALS, "cred", "user_ns", 8, 0 },
	{ TOLD + ALIKE_EXE, TOLD + ALIKE_MM, "mm_struct", "exe_file", 8, 0 },
	{ TOLD + ALIKE_CWD_MOUNT, TOLD + ALIKE_FS, "fs_struct", "pwd", 8, 0 }, /* struct path: ... */
	{ TOLD + ALIKE_CWD, TOLD + ALIKE_FS, "fs_struct", "pwd", 8, 8 },       /* ... two pointers */
	{ TOLD + ALIKE_ROOT_MOUNT, TOLD + ALIKE_FS, "fs_struct", "root", 8, 0 },
	{ TOLD + ALIKE_ROOT, TOLD + ALIKE_FS, "fs_struct", "root", 8, 8 },
};
enum { LEADERS = 2 }; /* so many steps tell whether it is the first thread */

/* What the steps do not name. */
enum { FUNCTION = ARRAY_SIZE(steps), NUMBERS, NUMBER_SIZE, PATH_SIZE, QUESTIONS };

struct code { struct bpf_insn v[320]; size_t n; };

static void put(struct code *c, const struct bpf_insn *v, size_t n)
{
	memcpy(c->v + c->n, v, n * sizeof(*v));
	c->n += n;
}
#define PUT(c, ...) do { \
	const struct bpf_insn v_[] = { __VA_ARGS__ }; \
	put(c, v_, ARRAY_SIZE(v_)); } while (0)

/* size bytes from R3 on. */
static void put_read(struct code *c, int to, int size)
{
	PUT(c, CLEAR(FRAME, PLACE(to)), COPY(R1, FRAME), ADD(R1, PLACE(to)), SET(R2, size),
	    CALL_HELPER(BPF_FUNC_probe_read_kernel));
}

static void put_step(struct code *c, const struct step *s, int64_t offset)
{
	if (offset < 0) {
		PUT(c, CLEAR(FRAME, PLACE(s->to)));
		return;
	}
	if (s->from == TASK)
		PUT(c, COPY(R3, R6));
	else
		PUT(c, LOAD(R3, FRAME, PLACE(s->from)));
	PUT(c, ADD(R3, (int32_t)offset + s->more));
	put_read(c, s->to, s->size);
}

static void put_program(struct code *c, const struct btf_question *told)
{
	PUT(c, LOAD(R6, R1, CTX_TASK), LOAD(R7, R1, CTX_META), LOAD(R7, R7, META_SEQ),
	    SKIP_IF_SET(R6, 2), SET(R0, 0), EXIT); /* none: the call after the last */
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		if (i == LEADERS)
			PUT(c, LOAD(R1, FRAME, PLACE(ID)), LOAD(R2, FRAME, PLACE(GROUP_ID)),
			    SKIP_IF_EQUAL(R1, R2, 2), SET(R0, 0), EXIT,
			    CALL_HELPER(BPF_FUNC_get_current_task), STORE(FRAME, PLACE(SELF), R0));
		put_step(c, &steps[i], told[i].answer);
	}
	/* A pid has a number in each namespace from the outermost to its own. */
	PUT(c, LOAD(R3, FRAME, PLACE(NUMBERED)), LOAD(R4, FRAME, PLACE(SELF_LEVEL)),
	    TIMES(R4, (int32_t)told[NUMBER_SIZE].answer), ADD_TO(R3, R4),
	    ADD(R3, (int32_t)told[NUMBERS].answer));
	put_read(c, PID, 4);
	PUT(c, COPY(R1, R7), COPY(R2, FRAME), ADD(R2, PLACE(PID)),
	    SET(R3, sizeof(struct alike_words)), CALL_HELPER(BPF_FUNC_seq_write), SET(R0, 0), EXIT);
}

int alike_program(int types, struct crcore_error *err)
{
	struct btf_question q[QUESTIONS] = {
		[FUNCTION] = { .what = BTF_OF_FUNCTION, .name = ITERATOR },
		[NUMBERS] = { .what = BTF_OF_MEMBER, .name = "pid", .member = "numbers" },
		[NUMBER_SIZE] = { .what = BTF_OF_SIZE, .name = "upid" },
		[PATH_SIZE] = { .what = BTF_OF_SIZE, .name = "path" },
	};
	struct code c = { .n = 0 };

	_Static_assert(TOLD == 1 && sizeof(struct alike_words) == 8 * NUMBERED, "they are written");
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		q[i] = (struct btf_question){ .what = BTF_OF_MEMBER, .name = steps[i].type,
			                      .member = steps[i].member };
	btf_ask(types, q, QUESTIONS);
	for (size_t i = 0; i < QUESTIONS; i++)
		if (q[i].answer < 0 && !(i < ARRAY_SIZE(steps) && steps[i].may_lack))
			return crcore_fail(err, -ENOTSUP, "the kernel does not describe %s%s%s", q[i].name,
			                   q[i].member ? "." : "", q[i].member ? q[i].member : "");
	if (q[PATH_SIZE].answer != 16)
		return crcore_fail(err, -ENOTSUP, "paths are not as they were");
	put_program(&c, q);
	int r = bpf_iterator(q[FUNCTION].answer, c.v, c.n, "cr_alike");
	return r < 0 ? crcore_fail(err, r, "the kernel takes no program: %s", strerror(-r)) : r;
}

int alike_words(int program)
{
	return bpf_iterate(program, 0);
}
