/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `crcore exec -t PID CALL [ARG...]`: one system call made by another task, and
 * its result. Numbers are arguments as they are; any other text is put into the
 * task's memory for the time of the call, and its address is the argument.
 *
 * One thread of the task stops for it, the one that -t names; the others run on.
 */
#include <ctype.h>
#include <inttypes.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include "core/cli/cli.h"
#include "core/task/stops.h"
#include "core/task/task.h"
#include "core/task/tree.h"
#include "core/util/json.h"
#include "core/util/util.h"
#include "core/util/worker.h"

#define STOP_TIMEOUT 10000000000ull /* ns */
#define CALL_TIMEOUT 10000000000ull

struct exec {
	struct command *cmd;
	int64_t nr;
	prog *prog;
	uint32_t op;
	struct task *task;
	struct thread *thread; /* who does it */
};

/* ---- the call ------------------------------------------------------------------- */

/* What makes or replaces tasks, or takes over their registers, would leave the
 * interpreter with somebody who does not know it. */
static bool can_be_made(int64_t nr)
{
	static const int refused[] = { SYS_fork, SYS_vfork, SYS_clone, SYS_clone3, SYS_execve,
		                       SYS_execveat, SYS_rt_sigreturn };

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (nr == refused[i])
			return false;
	return true;
}

static bool parse_number(const char *text, uint64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)*text) && !(*text == '-' && isdigit((unsigned char)text[1])))
		return false;
	errno = 0;
	*ret = *text == '-' ? (uint64_t)strtoll(text, &end, 0) : strtoull(text, &end, 0);
	return !*end && errno == 0;
}

static int parse_call(struct exec *x, struct crcore_error *err)
{
	struct command *cmd = x->cmd;
	uint64_t v = 0;

	if (!cmd->nargs) {
		crcore_advise(err, "crcore exec -t PID CALL [ARG...], e.g. crcore exec -t %d getpid",
		              cmd->pid);
		return crcore_fail(err, -EINVAL, "which system call?");
	}
	x->nr = parse_number(cmd->args[0], &v) ? (int64_t)v : syscall_number(cmd->args[0]);
	if (x->nr < 0 || x->nr > UINT32_MAX) {
		crcore_fail_at(err, -1, -1, "%s", cmd->args[0]);
		crcore_advise(err, "give its number if it is newer than crcore");
		return crcore_fail(err, -EINVAL, "no such system call");
	}
	if (!can_be_made(x->nr) || cmd->nargs > 7) {
		crcore_fail_at(err, -1, -1, "%s", cmd->args[0]);
		return crcore_fail(err, -EINVAL, cmd->nargs > 7 ?
		                   "a system call has six arguments at most" :
		                   "this system call cannot be made in another task's name");
	}
	return 0;
}

static int write_program(struct exec *x, struct crcore_error *err)
{
	struct crcore_arg args[6] = { { 0 } };
	uint64_t v = 0;

	if (!(x->prog = prog_new()))
		return crcore_no_memory(err);
	for (int i = 1; i < x->cmd->nargs; i++) {
		const char *text = x->cmd->args[i];
		args[i - 1] = parse_number(text, &v) ? IMM(v) :
		              DATA(prog_data(x->prog, text, strlen(text) + 1));
	}
	x->op = prog_call(x->prog, "exec", (uint32_t)x->nr, args, EXPECT_ANY, 0);
	return 0;
}

/* ---- the thread ------------------------------------------------------------------- */

static int refuse_seize(const struct exec *x, int r, struct crcore_error *err)
{
	cleanup_free char *status = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	const char *by = NULL;

	crcore_fail_at(err, x->cmd->pid, -1, "task %s", x->task->comm);
	if (proc_read(x->task->proc, "status", &status, NULL, &ignored) == 0)
		by = proc_field(status, "TracerPid");
	if (by && atoi(by)) {
		crcore_advise(err, "end the tracer (a debugger, strace) or let it detach first");
		return crcore_fail(err, -EBUSY, "it is traced by process %d", atoi(by));
	}
	return crcore_fail(err, r, "cannot seize it: %s", strerror(-r));
}

/* -t may name a thread. */
static int open_task(struct exec *x, struct crcore_error *err)
{
	cleanup_free char *status = NULL;
	const char *pid = NULL;
	cleanup_close int proc = proc_open(x->cmd->pid, err);

	if (proc < 0)
		return proc;
	int r = proc_read(proc, "status", &status, NULL, err);
	if (r == 0)
		pid = proc_field(status, "Tgid");
	if (r == 0 && (r = task_open(pid ? atoi(pid) : x->cmd->pid, NULL, &x->task, err)) == 0)
		r = task_threads(x->task, err);
	return r;
}

/* That thread, or the first that lives: the leader, as a rule. */
static int seize(struct exec *x, struct crcore_error *err)
{
	bool any = x->task->abi.pid == x->cmd->pid;
	int r = -ESRCH, signo;

	for (unsigned i = 0; i < x->task->nthreads && !x->thread; i++)
		if ((any || x->task->threads[i].tid == x->cmd->pid) &&
		    (r = stop_seize(x->task->threads[i].tid)) == 0)
			x->thread = &x->task->threads[i];
	if (!x->thread)
		return refuse_seize(x, r, err);
	x->thread->seized = true;
	crcore_fail_at(err, x->cmd->pid, -1, "task %s", x->task->comm);
	if ((r = stop_ask(x->thread->tid)) < 0 ||
	    (r = stop_rest(x->thread->tid, now_ns() + STOP_TIMEOUT, &signo)) < 0)
		return crcore_fail(err, r, "its thread %d does not stop: %s", x->thread->tid,
		                   strerror(-r));
	x->thread->stopped = true;
	if ((r = regs_read(x->thread, err)) < 0)
		return r;
	return stop_after_orphan(x->thread, err);
}

static void let_go(struct exec *x)
{
	if (!x->thread)
		return;
	if (x->thread->stopped)
		ptrace(PTRACE_SETREGS, x->thread->tid, NULL, &x->thread->regs);
	ptrace(PTRACE_DETACH, x->thread->tid, NULL, NULL);
}

/* ---- the result ------------------------------------------------------------------- */

static void call_text(const struct exec *x, char *ret, size_t len)
{
	const char *name = syscall_name((uint32_t)x->nr);
	uint64_t v;
	size_t n;

	n = name ? (size_t)snprintf(ret, len, "%s(", name) :
	           (size_t)snprintf(ret, len, "syscall_%" PRId64 "(", x->nr);
	for (int i = 1; i < x->cmd->nargs && n < len; i++)
		n += (size_t)snprintf(ret + n, len - n, parse_number(x->cmd->args[i], &v) ? "%s%s" :
		                      "%s\"%s\"", i > 1 ? ", " : "", x->cmd->args[i]);
	if (n < len)
		snprintf(ret + n, len - n, ")");
}

static int report(const struct exec *x, struct crcore_error *err)
{
	int64_t r = prog_result(x->prog, x->op);
	char text[256];

	call_text(x, text, sizeof(text));
	if (r < 0 && r > -4096) {
		const char *name = strerrorname_np((int)-r);
		crcore_fail_at(err, x->cmd->pid, -1, "task %s", x->task->comm);
		return crcore_fail(err, (int)r, "%s failed: %s (%s)", text, strerror((int)-r),
		                   name ? name : "unknown");
	}
	if (x->cmd->json) {
		struct json j = JSON_INIT(stdout);
		json_object(&j, NULL);
		json_string(&j, "call", text);
		json_int(&j, "result", r);
		json_end(&j);
	} else if (r > UINT32_MAX || r < 0)
		printf("%s = 0x%" PRIx64 "\n", text, (uint64_t)r);
	else
		printf("%s = %" PRId64 "\n", text, r);
	return 0;
}

/* ---- all of it ------------------------------------------------------------------------ */

static int make_call(struct exec *x, struct crcore_error *err)
{
	struct inject *in = NULL;
	int r = inject_open(x->thread, prog_size(x->prog) + PAGE, &in, err);

	if (r == 0 && (r = inject_map(&in, 1, err)) == 0 &&
	    (r = inject_place(in, x->thread, x->prog, err)) == 0 &&
	    (r = inject_run(&in, 1, CALL_TIMEOUT, err)) == 0)
		r = report(x, err);
	inject_close(in);
	return r;
}

static int exec_work(struct worker *w, void *arg, struct crcore_error *err)
{
	struct exec x = { .cmd = arg };
	int r;

	if ((r = parse_call(&x, err)) == 0 && (r = write_program(&x, err)) == 0 &&
	    (r = open_task(&x, err)) == 0 && (r = seize(&x, err)) == 0)
		r = make_call(&x, err);
	let_go(&x);
	task_free(x.task);
	prog_free(x.prog);
	return r;
}

int command_exec(struct command *cmd, struct crcore_error *err)
{
	if (!cmd->pid) {
		crcore_advise(err, "crcore exec -t PID CALL [ARG...]");
		return crcore_fail(err, -EINVAL, "which task? -t PID is missing");
	}
	return worker_run(exec_work, NULL, cmd, "the task went on by itself", err);
}
