/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of functions that a plugin is given. Each only forwards: to the
 * log, to the task programs, to what the running stage lends (host_services).
 * A service that the stage does not lend says so. While one runs, the hook's
 * time limit waits for it (call.c).
 */
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/host/internal.h"
#include "core/program/program.h"
#include "core/util/parallel.h"
#include "core/util/status.h"
#include "core/util/util.h"

__attribute__((format(printf, 3, 4)))
static void service_log(struct crcore_ctx *ctx, int level, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (level > log_level)
		return;
	service_enter();
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* Only the driver of the command prints errors: a plugin's are returned, not logged. */
	log_line(level < 1 ? 1 : level, "%s: %s", ctx->p.name, text);
	service_leave();
}

static const struct crcore_value *service_option(struct crcore_ctx *ctx, const char *name)
{
	const struct crcore_option *o = ctx->p.options;

	for (unsigned i = 0; o && o[i].name; i++)
		if (!strcmp(o[i].name, name))
			return &ctx->values[i];
	return NULL;
}

static int wrong_time(const char *service, struct crcore_error *err)
{
	return crcore_fail(err, -EINVAL, "calls %s() in a stage that does not have it", service);
}

static bool has_section(const struct crcore_ctx *ctx, const char *name)
{
	for (const struct crcore_section *s = ctx->p.sections; s && s->name; s++)
		if (!strcmp(s->name, name))
			return true;
	return false;
}

static int no_section(const char *name, struct crcore_error *err)
{
	return crcore_fail(err, -EINVAL, "uses a section \"%s\" that it does not declare", name);
}

static int service_put_record(struct crcore_ctx *ctx, const char *section, const void *msg,
                              size_t len, struct crcore_error *err)
{
	const struct host_services *s = &ctx->host->services;

	if (!s->put_record)
		return wrong_time("put_record", err);
	if (!has_section(ctx, section))
		return no_section(section, err);
	ctx->used = true;
	service_enter();
	int rc = s->put_record(s->arg, ctx, section, msg, len, err);
	service_leave();
	return rc;
}

static int service_blob(struct crcore_ctx *ctx, const char *section, struct crcore_error *err)
{
	const struct host_services *s = &ctx->host->services;

	if (!s->blob)
		return wrong_time("blob", err);
	if (!has_section(ctx, section))
		return no_section(section, err);
	ctx->used = true;
	service_enter();
	int rc = s->blob(s->arg, ctx, section, err);
	service_leave();
	return rc;
}

static int service_undo(struct crcore_ctx *ctx, void (*fn)(void *), void *arg, bool on_success,
                        struct crcore_error *err)
{
	service_enter();
	int rc = host_undo_push(ctx->host, ctx, fn, arg, on_success, err);
	service_leave();
	return rc;
}

static const struct crcore_task *service_task(struct crcore_ctx *ctx, uint32_t index)
{
	const struct host_services *s = &ctx->host->services;

	return s->task ? s->task(s->arg, index) : NULL;
}

static const struct crcore_object *service_object(struct crcore_ctx *ctx, uint32_t index)
{
	return index < ctx->nobjects ? ctx->objects[index] : NULL;
}

static uint32_t service_data(struct crcore_program *p, const void *bytes, size_t len)
{
	service_enter();
	uint32_t ref = prog_data(p, bytes, len);
	service_leave();
	return ref;
}

static uint32_t service_call(struct crcore_program *p, const char *label, uint32_t nr,
                             const struct crcore_arg args[6], uint32_t expect, int64_t want)
{
	service_enter();
	uint32_t op = prog_call(p, label, nr, args, expect, want);
	service_leave();
	return op;
}

static void service_pointer(struct crcore_program *p, uint32_t at, uint64_t at_offset, uint32_t to,
                            uint64_t to_offset)
{
	service_enter();
	prog_pointer(p, at, at_offset, to, to_offset);
	service_leave();
}

static void service_still_alive(struct crcore_ctx *ctx)
{
	service_alive();
}

static _Noreturn void end_as(int status)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };
	sigset_t none;

	if (WIFSIGNALED(status)) {
		prctl(PR_SET_DUMPABLE, 0);
		sigaction(WTERMSIG(status), &sa, NULL);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		kill(getpid(), WTERMSIG(status));
	}
	_exit(WEXITSTATUS(status));
}

static int service_ended(struct crcore_ctx *ctx, int status, struct crcore_error *err)
{
	if (!status_is_end((uint32_t)status))
		return crcore_fail(err, -EINVAL, "no process ends with status %#x", (unsigned)status);
	service_enter();
	pid_t pid = fork();
	if (pid == 0)
		end_as(status);
	int fd = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
	int rc = fd >= 0 ? fd : crcore_fail(err, -errno, "no process can be made: %s", strerror(errno));
	while (pid > 0 && waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	service_leave();
	return rc;
}

static int service_need(struct crcore_ctx *ctx, uint32_t id, struct crcore_error *err)
{
	const struct host_services *s = &ctx->host->services;

	if (!s->need)
		return wrong_time("need", err);
	service_enter();
	int rc = s->need(s->arg, ctx, id, err);
	service_leave();
	return rc;
}

static int service_fetch(struct crcore_ctx *ctx, struct crcore_program *p, uint32_t id,
                         uint32_t *ret_op, struct crcore_error *err)
{
	const struct host_services *s = &ctx->host->services;

	if (!s->fetch)
		return wrong_time("fetch", err);
	service_enter();
	int rc = s->fetch(s->arg, ctx, p, id, ret_op, err);
	service_leave();
	return rc;
}

static int service_hand(struct crcore_ctx *ctx, struct crcore_program *p, int fd, uint32_t *ret_op,
                        struct crcore_error *err)
{
	const struct host_services *s = &ctx->host->services;

	if (!s->hand)
		return wrong_time("hand", err);
	service_enter();
	int rc = s->hand(s->arg, ctx, p, fd, ret_op, err);
	service_leave();
	return rc;
}

static int service_will(struct crcore_ctx *ctx, const char *path, const char *text,
                        struct crcore_error *err)
{
	service_enter();
	int rc = host_will_text(ctx->host, path, text, err);
	service_leave();
	return rc;
}

static int leave_will(struct crcore_ctx *ctx, enum will_time when, void (*fn)(const void *, size_t),
                      const void *bytes, size_t len, struct crcore_error *err)
{
	service_enter();
	int rc = host_will(ctx->host, when, fn, bytes, len, err);
	service_leave();
	return rc;
}

static int service_will_call(struct crcore_ctx *ctx, void (*fn)(const void *, size_t),
                             const void *bytes, size_t len, struct crcore_error *err)
{
	return leave_will(ctx, WILL_LAST, fn, bytes, len, err);
}

static int service_will_first(struct crcore_ctx *ctx, void (*fn)(const void *, size_t),
                              const void *bytes, size_t len, struct crcore_error *err)
{
	return leave_will(ctx, WILL_FIRST, fn, bytes, len, err);
}

static int service_will_image(struct crcore_ctx *ctx, void (*fn)(const void *, size_t),
                              const void *bytes, size_t len, struct crcore_error *err)
{
	return leave_will(ctx, WILL_IMAGE, fn, bytes, len, err);
}

static int service_found(struct crcore_ctx *ctx, int fd, struct crcore_error *err)
{
	const struct host_services *s = &ctx->host->services;

	if (!s->found)
		return 0;
	service_enter();
	int rc = s->found(s->arg, ctx, fd, err);
	service_leave();
	return rc;
}

static uint32_t service_leaves(struct crcore_ctx *ctx) { return ctx->host->services.leave; }

static int service_save_contents(struct crcore_ctx *ctx, uint64_t key, int fd,
                                 struct crcore_error *err)
{
	const struct host_services *s = &ctx->host->services;

	if (!s->save_contents)
		return wrong_time("save_contents", err);
	ctx->used = true;
	service_enter();
	int rc = s->save_contents(s->arg, ctx, key, fd, err);
	service_leave();
	return rc;
}

static int service_load_contents(struct crcore_ctx *ctx, uint64_t key, int fd,
                                 struct crcore_error *err)
{
	const struct host_services *s = &ctx->host->services;

	if (!s->load_contents)
		return wrong_time("load_contents", err);
	service_enter();
	int rc = s->load_contents(s->arg, ctx, key, fd, err);
	service_leave();
	return rc;
}

static int service_run_as(struct crcore_ctx *ctx, pid_t pid, int (*fn)(void *), void *arg,
                          struct crcore_error *err)
{
	const struct host_services *s = &ctx->host->services;

	if (!s->run_as)
		return wrong_time("run_as", err);
	service_enter();
	int rc = s->run_as(s->arg, ctx, pid, fn, arg, err);
	service_leave();
	return rc;
}

struct ranges { void (*fn)(void *arg, size_t from, size_t to); void *arg; };

static void do_range(void *arg, size_t from, size_t to)
{
	const struct ranges *r = arg;

	r->fn(r->arg, from, to);
	service_alive(); /* of the hook's own thread */
}

static void service_parallel(struct crcore_ctx *ctx, size_t n, size_t chunk,
                             void (*fn)(void *arg, size_t from, size_t to), void *arg)
{
	struct ranges r = { fn, arg };

	service_enter();
	parallel(n, chunk ? chunk : 1, do_range, &r);
	service_leave();
}

const struct crcore_host host_table = {
	.size = sizeof(struct crcore_host),
	.abi_version = CRCORE_ABI_VERSION,
	.log = service_log,
	.option = service_option,
	.put_record = service_put_record,
	.blob = service_blob,
	.undo = service_undo,
	.task = service_task,
	.object = service_object,
	.data = service_data,
	.call = service_call,
	.result = prog_result,
	.answer = prog_answer,
	.need = service_need,
	.fetch = service_fetch,
	.pointer = service_pointer,
	.alive = service_still_alive,
	.ended = service_ended,
	.will = service_will,
	.leave = service_leaves,
	.save_contents = service_save_contents,
	.load_contents = service_load_contents,
	.run_as = service_run_as,
	.found = service_found,
	.will_call = service_will_call,
	.hand = service_hand,
	.will_first = service_will_first,
	.load = prog_load,
	.store = prog_store,
	.parallel = service_parallel,
	.will_image = service_will_image,
};
