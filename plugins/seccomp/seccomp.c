/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "seccomp": the plugin itself, and what is refused while the tree runs. */
#include "seccomp.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int seccomp_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                        struct crcore_error *err)
{
	struct seccomp *s = calloc(1, sizeof(*s));

	if (!s)
		return crcore_no_memory(err);
	s->host = host;
	s->ctx = ctx;
	*ret_state = s;
	return 0;
}

static void seccomp_close(void *state)
{
	struct seccomp *s = state;

	for (unsigned i = 0; i < s->nfilters; i++)
		seccomp__filter__free_unpacked(s->filters[i], NULL);
	for (unsigned i = 0; i < s->nthreads; i++)
		seccomp__thread__free_unpacked(s->threads[i], NULL);
	free(s->filters);
	free(s->threads);
	free(s);
}

/* -- looking ------------------------------------------------------------------------- */

static void take_line(const char *line, struct thread_status *ret)
{
	if (sscanf(line, "Seccomp: %d", &ret->mode) == 1 ||
	    sscanf(line, "Seccomp_filters: %u", &ret->filters) == 1)
		return;
	if (!strncmp(line, "Specul", 6) && strstr(line, "thread force mitigated"))
		ret->mitigated = true;
}

int seccomp_status(pid_t pid, pid_t tid, struct thread_status *ret, struct crcore_error *err)
{
	char path[64], line[512];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid, (int)tid);
	FILE *in = fopen(path, "re");
	if (!in)
		return errno == ENOENT || errno == ESRCH ? -ESRCH :
		       crcore_fail(err, -errno, "cannot open %s: %s", path, strerror(errno));
	*ret = (struct thread_status){ 0 };
	while (fgets(line, sizeof(line), in))
		take_line(line, ret);
	fclose(in);
	return 0;
}

static bool may_administrate(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { 0 } };

	return syscall(SYS_capget, &head, data) == 0 &&
	       (data[CAP_SYS_ADMIN / 32].effective >> (CAP_SYS_ADMIN % 32) & 1);
}

int seccomp_may(struct crcore_error *err)
{
	if (!may_administrate()) {
		crcore_advise(err, "run crcore as root, or give it this capability");
		return crcore_fail(err, -EPERM, "CAP_SYS_ADMIN is needed to see and to suspend filters of "
		                   "system calls, and missing");
	}
	if (prctl(PR_GET_SECCOMP) != MODE_FREE) { /* or refused by it */
		crcore_advise(err, "run crcore without a filter of its own (docker: --security-opt "
		              "seccomp=unconfined)");
		return crcore_fail(err, -EPERM, "crcore itself runs under seccomp, so the kernel lets it "
		                   "neither see nor suspend the filters of others");
	}
	return 0;
}

/* That some task is filtered matters only if we may not see that. */
static int seccomp_observe(void *state, struct crcore_error *err)
{
	struct seccomp *s = state;
	struct crcore_error why = CRCORE_ERROR_INIT;
	const struct crcore_task *task;
	struct thread_status st;
	bool any = false;
	int may = seccomp_may(&why);

	for (uint32_t i = 0; may < 0 && !any && (task = s->host->task(s->ctx, i)); i++)
		for (uint32_t k = 0; !any && task->state != CRCORE_TASK_ZOMBIE && k < task->nthreads; k++) {
			int r = seccomp_status(task->pid, task->tids[k], &st, err);
			if (r < 0 && r != -ESRCH)
				return r;
			any = r == 0 && st.mode != MODE_FREE;
		}
	if (any)
		*err = why;
	return any ? may : 0;
}

/* Whoever holds the listener of a filter decides for the threads that have it. */
static int seccomp_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	if (strcmp(obj->link, "anon_inode:seccomp notify") != 0)
		return CRCORE_CLAIM_NONE;
	crcore_fail_at(err, obj->pid, obj->fd, "listener of a seccomp filter");
	crcore_advise(err, "dump the tree below the program that it watches, with that program's "
	              "filter taken off, or end the watching before");
	return crcore_fail(err, -ENOTSUP, "system calls that wait for its decision cannot be saved");
}

static const struct crcore_field filter_fields[] = {
	{ 2, CRCORE_PAYLOAD, "program" },
	{ 0 },
};
static const struct crcore_section sections[] = {
	{ .name = "filter", .version = 1, .fields = filter_fields },
	{ .name = "thread", .version = 1 },
	{ .name = NULL },
};
static const char *const keeps[] = { "seccomp", NULL };

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "seccomp",
	.version = "1",
	.summary = "seccomp: strict mode, and filters of system calls",
	.sections = sections,
	.claims = "listeners of filters (refused)",
	.keeps = keeps,
	.open = seccomp_open,
	.close = seccomp_close,
	.observe = seccomp_observe,
	.claim = seccomp_claim,
	.ask = seccomp_ask,
	.save = seccomp_save,
	.load_record = seccomp_load_record,
	.check = seccomp_check,
	.emit_thread = seccomp_emit_thread,
};
