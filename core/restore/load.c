/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load stage: the image, its records, the plugins that it needs, and what
 * they have to say about it. Everything in here is untrusted.
 */
#include <fcntl.h>
#include <sys/utsname.h>
#include "core/pager/pager.h"
#include "core/restore/restore.h"

/* ---- services for plugins ---------------------------------------------------------------- */

static int serve_blob(void *arg, struct crcore_ctx *ctx, const char *section,
                      struct crcore_error *err)
{
	struct restore *r = arg;
	char name[120];
	uint64_t len;

	snprintf(name, sizeof(name), "%s.%s.bin", ctx->p.name, section);
	return image_bulk_read(r->image, name, &len, err);
}

static const struct crcore_task *serve_task(void *arg, uint32_t index)
{
	struct restore *r = arg;

	return index < r->rec.ntasks && r->tasks ? &r->tasks[index] : NULL;
}

static int serve_need(void *arg, struct crcore_ctx *ctx, uint32_t id, struct crcore_error *err)
{
	return object_need(arg, id, err);
}

static int serve_fetch(void *arg, struct crcore_ctx *ctx, struct crcore_program *p, uint32_t id,
                       uint32_t *ret_op, struct crcore_error *err)
{
	struct restore *r = arg;
	int fd = object_fd(r, id, err);

	if (fd < 0 && !r->only_plan)
		return fd;
	*ret_op = fetch_fd(r, p, "fetch object", fd);
	return 0;
}

static int serve_hand(void *arg, struct crcore_ctx *ctx, struct crcore_program *p, int fd,
                      uint32_t *ret_op, struct crcore_error *err)
{
	*ret_op = fetch_fd(arg, p, "fetch descriptor", fd);
	return 0;
}

static int serve_load_contents(void *arg, struct crcore_ctx *ctx, uint64_t key, int fd,
                               struct crcore_error *err)
{
	return contents_load(arg, ctx->p.name, key, fd, err);
}

static int serve_run_as(void *arg, struct crcore_ctx *ctx, pid_t pid, int (*fn)(void *),
                        void *fn_arg, struct crcore_error *err)
{
	return run_as(pid, fn, fn_arg, err);
}

/* ---- the machine in general ---------------------------------------------------------------- */

static int check_manifest(const Crcore__Manifest *m, struct crcore_error *err)
{
	struct utsname u;

	uname(&u);
	if (strcmp(m->machine, u.machine)) {
		crcore_advise(err, "restore it on the sort of machine that it was saved on");
		return crcore_fail(err, -ENOEXEC, "the image is of a %.40s machine, this is %.40s",
		                   m->machine, u.machine);
	}
	if (m->page_size && m->page_size != (uint32_t)sysconf(_SC_PAGESIZE))
		return crcore_fail(err, -ENOEXEC, "the image has pages of %u bytes, this kernel has %ld",
		                   m->page_size, sysconf(_SC_PAGESIZE));
	return 0;
}

/* ---- plugins and their records -------------------------------------------------------------- */

struct section_load {
	struct restore *r;
	const char *section;
	uint32_t version;
	struct crcore_ctx *ctx;
};

static int load_one(void *arg, const void *msg, size_t len, struct crcore_error *err)
{
	struct section_load *l = arg;

	return l->ctx->p.load_record(l->ctx->state, l->section, l->version, msg, len, err);
}

static int call_load(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	struct section_load *l = arg;

	return image_each(l->r->image, ctx->p.name, l->section, load_one, l, err);
}

static int load_section(struct restore *r, struct crcore_ctx *ctx, const Crcore__SectionUse *u,
                        struct crcore_error *err)
{
	struct section_load l = { r, u->name, u->version, ctx };
	const struct crcore_section *s = ctx->p.sections;

	while (s && s->name && strcmp(s->name, u->name))
		s++;
	if (!s || !s->name || u->version > s->version || !ctx->p.load_record) {
		snprintf(err->plugin, sizeof(err->plugin), "%s", ctx->p.name);
		crcore_fail_at(err, -1, -1, "section %.80s", u->name);
		crcore_advise(err, "use the release of the plugin that wrote the image, or a later one");
		return crcore_fail(err, -ENOTSUP, "the image has version %u, this plugin (%s) reads up to "
		                   "%u", u->version, ctx->p.version, s && s->name ? s->version : 0);
	}
	return host_call(ctx, STAGE_LOAD, call_load, &l, err);
}

static int load_plugins(struct restore *r, struct crcore_error *err)
{
	const Crcore__Manifest *m = r->manifest;
	int ret = host_series_start(r->host, err);

	if (ret < 0)
		return ret;
	for (size_t i = 0; ret >= 0 && i < m->n_plugins; i++) {
		const Crcore__PluginUse *u = m->plugins[i];
		struct crcore_ctx *ctx = host_find(r->host, u->name);
		if (u->idle)
			continue;
		if (!ctx) {
			crcore_advise(err, "load it: --plugins=+%.40s", u->name);
			ret = crcore_fail(err, -ENOENT, "the image was saved with plugin \"%.40s\" (%.40s), "
			                  "which is not loaded", u->name, u->version);
		}
		for (size_t k = 0; ret >= 0 && k < u->n_sections; k++)
			ret = load_section(r, ctx, u->sections[k], err);
	}
	host_series_stop(r->host);
	return ret < 0 ? ret : 0;
}

/* Those that the dump had no use for need not be loaded. */
static int load_host(struct restore *r, struct crcore_error *err)
{
	const Crcore__Manifest *m = r->manifest;
	cleanup_free const char **spare = calloc(m->n_plugins + 1, sizeof(*spare));
	size_t n = 0;

	if (!spare)
		return crcore_no_memory(err);
	for (size_t i = 0; i < m->n_plugins; i++)
		if (m->plugins[i]->idle)
			spare[n++] = m->plugins[i]->name;
	return host_load_but(r->cmd->policy, spare, &r->host, err);
}

/* ---- tasks as plugins see them ------------------------------------------------------------- */

static int tasks_for_plugins(struct restore *r, struct crcore_error *err)
{
	size_t ntids = 0, at = 0;

	for (unsigned i = 0; i < r->rec.ntasks; i++)
		ntids += r->rec.tasks[i]->n_threads + 1;
	r->tasks = calloc(r->rec.ntasks, sizeof(*r->tasks));
	r->tids = calloc(ntids, sizeof(*r->tids));
	if (!r->tasks || !r->tids)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < r->rec.ntasks; i++) {
		const Crcore__Task *t = r->rec.tasks[i];
		pid_t *tids = &r->tids[at];
		for (size_t k = 0; k < t->n_threads; k++)
			r->tids[at++] = (pid_t)t->threads[k]->tid;
		if (!t->n_threads)
			r->tids[at++] = (pid_t)t->pid;
		r->tasks[i] = (struct crcore_task){
			.size = sizeof(struct crcore_task), .pid = (pid_t)t->pid, .ppid = (pid_t)t->ppid,
			.pgid = (pid_t)t->pgid, .sid = (pid_t)t->sid, .pidfd = -1, .index = i,
			.state = t->state == CRCORE__TASK_STATE__ZOMBIE ? CRCORE_TASK_ZOMBIE :
			         t->state == CRCORE__TASK_STATE__STOPPED ? CRCORE_TASK_STOPPED
			                                                 : CRCORE_TASK_RUNNING,
			.nthreads = t->n_threads ? (uint32_t)t->n_threads : 1, .tids = tids,
			.comm = t->n_threads ? t->threads[0]->comm : t->comm,
			.namespaces = r->manifest->namespaces,
		};
	}
	return 0;
}

/* ---- the stage ------------------------------------------------------------------------------- */

/* From here on names are those that the tree has for things. */
static int join(struct restore *r, struct crcore_error *err)
{
	if (r->manifest->namespaces & ~r->join->types) {
		crcore_advise(err, "give it others to join, e.g. --join-ns /proc/PID/ns/mnt for each");
		return crcore_fail(err, -ENOTSUP, "the tree lived in namespaces of its own (flags %#x), "
		                   "and those to join (flags %#x) lack some", r->manifest->namespaces,
		                   r->join->types);
	}
	return namespaces_enter(r->join, false, err);
}

static int want_lazy(struct restore *r, struct crcore_error *err)
{
	if (!policy_core(r->cmd->policy, "restore.lazy")->b)
		return 0;
	if (r->cmd->received) {
		crcore_advise(err, "keep what is received (--keep-images)");
		return crcore_fail(err, -EINVAL, "memory cannot be loaded on demand (--lazy) from an image "
		                   "that is removed");
	}
	r->wants_lazy = r->only_plan || pager_works();
	if (!r->wants_lazy)
		log_line(1, "this kernel cannot load memory on demand: all is loaded before the tree runs");
	return 0;
}

int restore_load(struct restore *r, struct crcore_error *err)
{
	int ret = want_lazy(r, err);

	if (ret == 0)
		ret = image_open(r->cmd->images_dir, false, &r->image, err);

	if (ret < 0)
		return ret;
	r->manifest = image_manifest(r->image);
	if ((ret = check_manifest(r->manifest, err)) < 0 ||
	    (ret = core_records_load(r->image, &r->rec, err)) < 0)
		return ret;
	if ((ret = pages_open(r->image, &r->pages, err)) < 0)
		return ret;
	if (policy_core(r->cmd->policy, "restore.verify")->b)
		pages_verify(r->pages);
	if ((ret = memory_runs(r->image, &r->rec, pages_length(r->pages), err)) < 0 ||
	    (ret = tasks_for_plugins(r, err)) < 0 || (ret = load_host(r, err)) < 0 ||
	    (ret = join(r, err)) < 0)
		return ret;
	r->host->fate = r->fate;
	r->host->services = (struct host_services){ .blob = serve_blob, .task = serve_task,
		.need = serve_need, .fetch = serve_fetch, .hand = serve_hand,
		.load_contents = serve_load_contents, .run_as = serve_run_as, .arg = r };
	if ((ret = objects_load(r, err)) < 0 || (ret = load_plugins(r, err)) < 0)
		return ret;
	return host_run(r->host, STAGE_CHECK, err);
}

/* The worker ends behind this: its memory goes with it, at once. */
void restore_unload(struct restore *r)
{
	feeds_end(r);
	feeds_free(r);
	arena_close(&r->arena);
	objects_close(r);
	host_free(r->host);
	pages_close(r->pages);
	image_close(r->image);
}
