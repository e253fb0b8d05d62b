/* SPDX-License-Identifier: Apache-2.0 */
/* The image of a dump: the records of the core (core.proto) and the manifest. */
#include <sys/utsname.h>
#include "core/dump/dump.h"
#include "core/task/machine.h"
#include "core/util/util.h"
#include "core/util/worker.h"

int make_image(const struct command *cmd, struct image **ret, struct crcore_error *err)
{
	struct policy *p = cmd->policy;
	enum pack_codec codec = (enum pack_codec)policy_core(p, "dump.compress")->i;
	int r = cmd->stream ? image_create_stream(STDOUT_FILENO, worker_check, ret, err) :
	        image_create(cmd->images_dir, policy_core(p, "dump.sync")->b, ret, err);

	return r < 0 ? r : image_set_packing(*ret, codec, (int)policy_core(p, "dump.compress-level")->i,
	                                     err);
}

static int save_objects(struct survey *s, struct image *image, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->objects.n; i++) {
		struct object *o = s->objects.v[i];
		Crcore__Object rec = CRCORE__OBJECT__INIT;
		Crcore__Owner owner;
		rec.id = o->abi.id;
		rec.class_ = o->abi.class_;
		rec.use = o->abi.use;
		rec.plugin = (char *)o->owner->p.name;
		rec.label = o->link;
		rec.owner = object_owner_record(o, &owner);
		r = image_put_message(image, "core", "object", &rec.base, err);
	}
	return r;
}

/* They may be many, and whoever tracks the tree keeps what memory we have by then. */
static int save_mm(Crcore__Mm *m, struct image *image, struct crcore_error *err)
{
	int r = image_put_message(image, "core", "mm", &m->base, err);

	for (size_t i = 0; i < m->n_runs; i++)
		free(m->runs[i]);
	free(STEAL(m->runs));
	m->n_runs = 0;
	return r;
}

int save_records(struct survey *s, struct image *image, struct crcore_error *err)
{
	int r = save_objects(s, image, err);

	for (unsigned i = 0; r == 0 && i < s->tree.nmms; i++)
		r = save_mm(s->tree.mms[i]->rec, image, err);
	for (unsigned i = 0; r == 0 && i < s->nfiles; i++)
		r = image_put_message(image, "core", "files", &s->files[i]->base, err);
	for (unsigned i = 0; r == 0 && i < s->nfs; i++)
		r = image_put_message(image, "core", "fs", &s->fs[i]->base, err);
	for (unsigned i = 0; r == 0 && i < s->nsighands; i++)
		r = image_put_message(image, "core", "sighand", &s->sighands[i]->base, err);
	for (unsigned i = 0; r == 0 && i < s->nsegments; i++)
		r = image_put_message(image, "core", "segment", &s->segments[i]->base, err);
	for (unsigned i = 0; r == 0 && i < s->tree.ntasks; i++)
		r = image_put_message(image, "core", "task", &s->tree.tasks[i]->rec->base, err);
	return r;
}

/* ---- manifest --------------------------------------------------------------------- */

static int use_section(Crcore__PluginUse *use, const struct crcore_section *section)
{
	Crcore__SectionUse *s = malloc(sizeof(*s));

	if (!s || !GROW(use->sections, use->n_sections)) {
		free(s);
		return -ENOMEM;
	}
	crcore__section_use__init(s);
	use->sections[use->n_sections++] = s;
	s->name = strdup(section->name);
	s->version = section->version;
	return s->name ? 0 : -ENOMEM;
}

static Crcore__PluginUse *new_use(Crcore__Manifest *m, const char *name, const char *version)
{
	Crcore__PluginUse *use = malloc(sizeof(*use));

	if (!use || !GROW(m->plugins, m->n_plugins)) {
		free(use);
		return NULL;
	}
	crcore__plugin_use__init(use);
	m->plugins[m->n_plugins++] = use;
	use->name = strdup(name);
	use->version = strdup(version ? version : "");
	return use->name && use->version ? use : NULL;
}

static int use_plugin(Crcore__Manifest *m, const struct crcore_ctx *ctx)
{
	Crcore__PluginUse *use = new_use(m, ctx->p.name, ctx->p.version);

	if (!use)
		return -ENOMEM;
	for (const struct crcore_section *s = ctx->p.sections; s && s->name; s++)
		if (use_section(use, s) < 0)
			return -ENOMEM;
	use->idle = use->n_sections && !ctx->used;
	return 0;
}

static int fill_machine(Crcore__Manifest *m)
{
	struct utsname u;

	if (uname(&u) < 0)
		return -errno;
	m->kernel = strdup(u.release);
	m->machine = strdup(u.machine);
	m->page_size = (uint32_t)PAGE;
	return m->kernel && m->machine ? 0 : -ENOMEM;
}

/* Nothing of the tree concerned it, so it was not even loaded. */
static int use_later(Crcore__Manifest *m, const struct later *l)
{
	Crcore__PluginUse *use = new_use(m, l->key, NULL);

	if (use)
		use->idle = true;
	return use ? 0 : -ENOMEM;
}

int fill_manifest(const struct survey *s, struct host *host, const struct command *cmd,
                  Crcore__Manifest *m, struct crcore_error *err)
{
	const struct task *root = s->tree.tasks[0];
	size_t len = 0;
	int r;

	crcore__manifest__init(m);
	m->format = 1;
	m->root_pid = (uint32_t)root->abi.pid;
	m->tasks = s->tree.ntasks;
	m->created = (uint64_t)time(NULL);
	m->shell_job = policy_core(cmd->policy, "dump.shell-job")->b;
	m->root_sid = tree_find(&s->tree, root->abi.sid) ? 0 : (uint32_t)root->abi.sid;
	m->root_pgid = tree_find(&s->tree, root->abi.pgid) ? 0 : (uint32_t)root->abi.pgid;
	m->policy.data = (uint8_t *)policy_text(cmd->policy, &len);
	m->policy.len = len;
	r = m->policy.data ? fill_machine(m) : -ENOMEM;
	for (unsigned i = 0; r == 0 && i < host->nplugins; i++)
		r = use_plugin(m, host->plugins[i]);
	for (unsigned i = 0; r == 0 && i < host->nlater; i++)
		r = use_later(m, &host->later[i]);
	if (r < 0)
		return crcore_fail(err, r, "cannot fill the manifest: %s", strerror(-r));
	if ((r = cpu_features(&m->cpu, err)) < 0)
		return r;
	return vdso_hash(&m->vdso, err);
}

void clear_manifest(Crcore__Manifest *m)
{
	free(m->kernel);
	free(m->machine);
	free(m->cpu.data);
	free(m->policy.data);
	free(m->vdso.data);
	for (size_t i = 0; i < m->n_plugins; i++)
		crcore__plugin_use__free_unpacked(m->plugins[i], NULL);
	free(m->plugins);
	crcore__manifest__init(m);
}
