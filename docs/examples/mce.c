/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crcore plugin for the memory failure policy of a process, prctl(2)
 * PR_MCE_KILL: something that only a task itself can be asked and can set.
 * The second example of docs/plugin-guide.md. (Of threads that differ from
 * the first one only the first is kept.)
 */
#include <crcore/plugin.h>
#include <errno.h>
#include <linux/prctl.h>
#include <stdlib.h>
#include <sys/syscall.h>

struct answer { /* of one task */
	struct answer *next;
	pid_t pid;
	struct crcore_program *program; /* dump: where the answer will be ... */
	uint32_t op;                    /* ... and of which operation */
	uint32_t policy;                /* restore: the answer */
};

struct state {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	struct answer *answers;
};

static struct crcore_arg imm(uint64_t value)
{
	struct crcore_arg a = { CRCORE_IMM, 0, value };
	return a;
}

static int add(struct state *s, const struct answer *a, struct crcore_error *err)
{
	struct answer *copy = malloc(sizeof(*copy));

	if (!copy)
		return crcore_fail(err, -ENOMEM, "out of memory");
	*copy = *a;
	copy->next = s->answers;
	s->answers = copy;
	return 0;
}

static int mce_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                    struct crcore_error *err)
{
	struct state *s = calloc(1, sizeof(*s));

	if (!s)
		return crcore_fail(err, -ENOMEM, "out of memory");
	s->host = host;
	s->ctx = ctx;
	*ret_state = s;
	return 0;
}

static void mce_close(void *state)
{
	struct state *s = state;

	while (s->answers) {
		struct answer *a = s->answers;
		s->answers = a->next;
		free(a);
	}
	free(s);
}

static int mce_ask(void *state, const struct crcore_task *task, struct crcore_program *program,
                   struct crcore_error *err)
{
	struct state *s = state;
	const struct crcore_arg args[6] = { imm(PR_MCE_KILL_GET), imm(0), imm(0), imm(0), imm(0) };
	struct answer a = { .pid = task->pid, .program = program };

	a.op = s->host->call(program, "ask for the memory failure policy", SYS_prctl, args, CRCORE_OK, 0);
	return add(s, &a, err);
}

static int mce_save(void *state, struct crcore_error *err)
{
	struct state *s = state;

	for (struct answer *a = s->answers; a; a = a->next) {
		int64_t policy = s->host->result(a->program, a->op);
		/* message Policy { fixed32 pid = 1; fixed32 policy = 2; } */
		unsigned char msg[10] = { 0x0d, 0, 0, 0, 0, 0x15, (unsigned char)policy };
		uint32_t pid = (uint32_t)a->pid;

		if (policy == PR_MCE_KILL_DEFAULT)
			continue;
		memcpy(msg + 1, &pid, 4);
		int rc = s->host->put_record(s->ctx, "policy", msg, sizeof(msg), err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int mce_load_record(void *state, const char *section, uint32_t version, const void *msg,
                           size_t len, struct crcore_error *err)
{
	const unsigned char *p = msg;
	struct answer a = { 0 };

	if (len != 10 || p[0] != 0x0d || p[5] != 0x15 || p[6] > PR_MCE_KILL_DEFAULT)
		return crcore_fail(err, -EBADMSG, "the record of a policy is damaged");
	memcpy(&a.pid, p + 1, 4);
	a.policy = p[6];
	return add(state, &a, err);
}

static int mce_emit(void *state, const struct crcore_task *task, uint32_t phase,
                    struct crcore_program *program, struct crcore_error *err)
{
	struct state *s = state;

	for (struct answer *a = s->answers; a && phase == CRCORE_PHASE_LATE; a = a->next) {
		const struct crcore_arg args[6] = { imm(PR_MCE_KILL), imm(PR_MCE_KILL_SET), imm(a->policy),
		                                    imm(0), imm(0) };
		if (a->pid == task->pid)
			s->host->call(program, "set the memory failure policy", SYS_prctl, args, CRCORE_EQUAL, 0);
	}
	return 0;
}

static const struct crcore_section sections[] = { { "policy", 1, NULL }, { NULL, 0, NULL } };

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "mce",
	.version = "1.0",
	.summary = "memory failure policy of processes",
	.sections = sections,
	.open = mce_open,
	.close = mce_close,
	.ask = mce_ask,
	.save = mce_save,
	.load_record = mce_load_record,
	.emit = mce_emit,
};
