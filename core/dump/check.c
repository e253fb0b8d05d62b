/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `crcore check`: what the kernel and our capabilities offer, the plugins'
 * needs among it; with -t PID all that would keep that tree from being saved.
 * Changes nothing.
 */
#include "core/dump/dump.h"
#include "core/util/capability.h"
#include "core/util/json.h"
#include "core/util/text.h"
#include "core/util/util.h"

#define MAX_NEEDS 64

/* ---- the machine ------------------------------------------------------------------- */

static unsigned plugin_needs(struct host *host, struct need_result *ret, unsigned n)
{
	char name[CAPABILITY_NAME_MAX];

	for (unsigned i = 0; i < host->nplugins; i++) {
		const struct crcore_plugin *p = &host->plugins[i]->p;
		for (const struct crcore_need *need = p->needs; need && need->what_for && n < MAX_NEEDS;
		     need++) {
			const cap_value_t c = (cap_value_t)need->capability;
			ret[n] = (struct need_result){ .what = p->name, .ok = has_capability(c) };
			snprintf(ret[n].why, sizeof(ret[n].why), "%s: %s", capability_name(c, name),
			         need->what_for);
			n++;
		}
	}
	return n;
}

static int check_machine(struct command *cmd, struct host *host)
{
	struct need_result v[MAX_NEEDS];
	unsigned n = plugin_needs(host, v, needs_list(v, MAX_NEEDS));
	struct json j = JSON_INIT(stdout);

	if (cmd->json) {
		json_object(&j, NULL);
		json_array(&j, "needs");
		for (unsigned i = 0; i < n; i++) {
			json_object(&j, NULL);
			json_string(&j, "what", v[i].what);
			json_bool(&j, "ok", v[i].ok);
			json_string(&j, "why", v[i].why);
			json_end(&j);
		}
		json_end(&j);
		json_end(&j);
		return 0;
	}
	for (unsigned i = 0; i < n; i++)
		printf("%-30s %-8s %s\n", v[i].what, v[i].ok ? "yes" : "MISSING", v[i].why);
	return 0;
}

/* ---- a tree -------------------------------------------------------------------------- */

static void print_blocker(const struct crcore_error *b)
{
	char text[ERROR_TEXT_MAX];

	printf("blocker: %s\n", error_text(b, text));
}

static void print_json(pid_t pid, const struct blockers *b, unsigned ntasks)
{
	struct json j = JSON_INIT(stdout);

	json_object(&j, NULL);
	json_int(&j, "pid", pid);
	json_uint(&j, "tasks", ntasks);
	json_array(&j, "blockers");
	for (unsigned i = 0; i < b->n; i++) {
		json_object(&j, NULL);
		json_string(&j, "plugin", b->v[i].err.plugin);
		json_int(&j, "pid", b->v[i].err.pid);
		json_int(&j, "fd", b->v[i].err.fd);
		json_string(&j, "object", b->v[i].err.object);
		json_string(&j, "message", b->v[i].err.message);
		json_string(&j, "advice", b->v[i].err.advice);
		json_end(&j);
	}
	json_end(&j);
	json_end(&j);
}

/* A tree that changes under the look is looked at again. */
static int look(struct command *cmd, struct host *host, struct survey *s, struct blockers *b,
                struct crcore_error *err)
{
	int r = -EAGAIN;

	for (int tries = 0; tries < 5 && survey_changed(r); tries++) {
		struct crcore_error once = CRCORE_ERROR_INIT;
		survey_free(s);
		blockers_free(b);
		host_forget(host);
		if ((r = tree_look(cmd->pid, &s->tree, &once)) == 0)
			r = survey_look_live(s, cmd, host, b, &once);
		if (r < 0)
			*err = once;
	}
	if (r == 0)
		*err = (struct crcore_error)CRCORE_ERROR_INIT;
	else if (survey_changed(r))
		crcore_advise(err, "the tree changes all the time; try again");
	return r;
}

static const struct crcore_task *serve_task(void *arg, uint32_t index)
{
	const struct survey *s = arg;

	return index < s->tree.ntasks ? &s->tree.tasks[index]->abi : NULL;
}

static int serve_found(void *arg, struct crcore_ctx *ctx, int fd, struct crcore_error *err)
{
	struct survey *s = arg;

	s->incomplete |= fd >= 0;
	return 0;
}

static bool all_last(const struct blockers *b)
{
	for (unsigned i = 0; i < b->n; i++)
		if (!b->v[i].lasts)
			return false;
	return true;
}

static int check_tree(struct command *cmd, struct host *host, struct crcore_error *err)
{
	struct survey s = { 0 };
	struct blockers b = { 0 };
	struct namespaces ns = { .n = 0 };
	int r = needs_check(err);

	host->services = (struct host_services){ .task = serve_task, .found = serve_found,
		                             .arg = &s };
	if (r == 0 && (r = places_enter(&ns, cmd->pid, host, err)) == 0 &&
	    (r = tree_look(cmd->pid, &s.tree, err)) == 0 &&
	    (r = host_run(host, STAGE_OBSERVE, err)) == 0)
		r = look(cmd, host, &s, &b, err);
	if (r == 0) {
		if (cmd->json)
			print_json(cmd->pid, &b, s.tree.ntasks);
		else
			for (unsigned i = 0; i < b.n; i++)
				print_blocker(&b.v[i].err);
		if (!all_last(&b) && !cmd->json)
			printf("note: the tree runs all the time; what is of a moment only, a dump finds "
			       "out when it is frozen\n");
		if (s.incomplete && !cmd->json)
			printf("note: descriptors are in flight; a dump looks at them, and anew at all "
			       "else, when the tree is frozen\n");
		if (b.n && cmd->json) {
			r = 1; /* the list is the answer, in one document */
		} else if (b.n) {
			crcore_fail_at(err, cmd->pid, -1, "tree of %u tasks", s.tree.ntasks);
			r = crcore_fail(err, -ENOTSUP, "%u things keep it from being saved", b.n);
			crcore_advise(err, "see the list above");
		} else if (!cmd->json) {
			printf("%u tasks, %u objects: nothing keeps it from being saved\n", s.tree.ntasks,
			       s.objects.n);
		}
	}
	namespaces_close(&ns);
	host->services = (struct host_services){ 0 };
	survey_free(&s);
	blockers_free(&b);
	return r;
}

int command_check(struct command *cmd, struct crcore_error *err)
{
	struct host *host = NULL;
	int r = cmd->pid ? host_load_lazily(cmd->policy, &host, err)
	                 : host_load(cmd->policy, &host, err);

	if (r == 0)
		r = cmd->pid ? check_tree(cmd, host, err) : check_machine(cmd, host);
	host_free(host);
	return r;
}
