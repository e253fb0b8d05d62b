/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading: from the names in the policy to plugins that are open. Everything
 * that can be wrong with a plugin is found here, before any task is touched:
 * RTLD_NOW binds every symbol, declared.c checks the struct, policy_options()
 * the settings, order.c the order of every stage.
 */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include "core/host/internal.h"
#include "core/util/util.h"

#define DEFAULT_LIMIT "10s"

static void ctx_free(struct crcore_ctx *ctx)
{
	if (!ctx)
		return;
	/* What hung may have held the loader's lock. */
	if (ctx->dl && !ctx->host->hung && !ctx->host->keep_loaded)
		dlclose(ctx->dl);
	free(ctx->values);
	free(ctx->objects);
	free((char *)ctx->path);
	free(ctx);
}

/* The plugin's own struct (not that of a library it links), and its size as the linker knows it. */
static const void *find_struct(void *dl, size_t *ret_size)
{
	struct link_map *map = NULL;
	ElfW(Sym) *sym = NULL;
	Dl_info info;
	const void *p = dlsym(dl, "crcore_plugin");

	if (!p || dlinfo(dl, RTLD_DI_LINKMAP, &map) < 0 ||
	    !dladdr1(p, &info, (void **)&sym, RTLD_DL_SYMENT) || !sym)
		return NULL;
	if (strcmp(info.dli_fname, map->l_name) || ELF64_ST_TYPE(sym->st_info) != STT_OBJECT)
		return NULL;
	*ret_size = sym->st_size;
	return p;
}

/* As a hook, since constructors of the plugin and its libraries run. */
static int call_dlopen(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	ctx->dl = dlopen(ctx->path, RTLD_NOW | RTLD_LOCAL);
	if (ctx->dl)
		return 0;
	crcore_fail_at(err, -1, -1, "%s", ctx->path);
	crcore_advise(err, "a plugin must bring all that it uses: link its libraries with -Wl,-z,defs");
	return crcore_fail(err, -ELIBACC, "cannot be loaded: %s", dlerror());
}

static int open_object(struct crcore_ctx *ctx, struct crcore_error *err)
{
	size_t size = 0;
	int rc = host_call(ctx, STAGE_OPEN, call_dlopen, NULL, err);

	if (rc < 0)
		return rc;
	const void *exported = find_struct(ctx->dl, &size);

	if (!exported) {
		crcore_fail_at(err, -1, -1, "%s", ctx->path);
		crcore_advise(err, "define it with CRCORE_EXPORT const struct crcore_plugin crcore_plugin");
		return crcore_fail(err, -ENOEXEC, "is not a plugin of crcore: it exports no struct "
		                   "named crcore_plugin");
	}
	return host_take_struct(ctx, exported, size, err);
}

/* The value of the key that every plugin has. */
static int read_limit(struct policy *policy, struct crcore_ctx *ctx, struct crcore_error *err)
{
	static const struct crcore_option option = {
		"time-limit", CRCORE_SECONDS, DEFAULT_LIMIT, NULL, 1000000, 86400000000000, NULL,
	};
	struct node *map = policy_plugin_node(policy, ctx->key);
	struct crcore_value value = { .i = 10000000000 };

	for (const struct node *n = map && map->type == NODE_MAP ? map->child : NULL; n; n = n->next)
		if (n->key && !strcmp(n->key, option.name)) {
			int rc = policy_parse_value(&option, n, &value, err);
			if (rc < 0)
				return rc;
		}
	ctx->time_limit = value.i;
	return 0;
}

static int read_options(struct policy *policy, struct crcore_ctx *ctx, struct crcore_error *err)
{
	static const struct crcore_option none = { 0 };
	const struct crcore_option *table = ctx->p.options ? ctx->p.options : &none;
	unsigned n = 0;

	while (table[n].name)
		n++;
	ctx->values = calloc(n + 1, sizeof(*ctx->values));
	if (!ctx->values)
		return crcore_no_memory(err);
	return policy_options(policy, ctx->key, table, ctx->values, err);
}

static int check_names(const struct host *h, const struct crcore_ctx *ctx, struct crcore_error *err)
{
	if (!strchr(ctx->key, '/') && strcmp(ctx->key, ctx->p.name)) {
		crcore_fail_at(err, -1, -1, "%s", ctx->path);
		crcore_advise(err, "rename the file to %s.so, or give its path in the policy", ctx->p.name);
		return crcore_fail(err, -EINVAL, "the plugin in it is named \"%s\"", ctx->p.name);
	}
	for (unsigned i = 0; i < h->nplugins; i++)
		if (!strcmp(h->plugins[i]->p.name, ctx->p.name)) {
			crcore_fail_at(err, -1, -1, "%s", ctx->path);
			crcore_advise(err, "keep one of them in the policy");
			return crcore_fail(err, -EEXIST, "a plugin of this name is loaded already, from %s",
			                   h->plugins[i]->path);
		}
	return 0;
}

/* Into policy order, whenever it came. */
static int insert(struct host *h, struct crcore_ctx *ctx, struct crcore_error *err)
{
	unsigned at = h->nplugins;

	if (!GROW(h->plugins, h->nplugins))
		return crcore_no_memory(err);
	for (; at > 0 && h->plugins[at - 1]->place > ctx->place; at--)
		h->plugins[at] = h->plugins[at - 1];
	h->plugins[at] = ctx;
	h->nplugins++;
	for (; at < h->nplugins; at++)
		h->plugins[at]->index = at;
	return 0;
}

int host_load_one(struct host *h, struct finder *finder, const char *key, unsigned place, bool now,
                  struct crcore_ctx **ret, struct crcore_error *err)
{
	const char *file = strrchr(key, '/') ? strrchr(key, '/') + 1 : key;
	struct crcore_ctx *ctx = calloc(1, sizeof(*ctx));
	int rc = ctx ? 0 : crcore_no_memory(err);

	if (rc < 0)
		return rc;
	ctx->host = h;
	ctx->key = key;
	ctx->place = place;
	ctx->p.name = file; /* until it says its own */
	rc = host_find_file(finder, key, (char **)&ctx->path, err);
	if (rc == 0 && !now && (rc = later_add(ctx, err)) > 0) {
		ctx_free(ctx);
		return 0;
	}
	if (rc == 0)
		rc = host_trust_file(finder, ctx->path, err);
	if (rc == 0)
		rc = read_limit(h->policy, ctx, err);
	if (rc == 0)
		rc = open_object(ctx, err);
	if (rc == 0)
		rc = host_check_declared(ctx, err);
	if (rc == 0)
		rc = check_names(h, ctx, err);
	if (rc == 0)
		rc = read_options(h->policy, ctx, err);
	if (rc == 0)
		rc = insert(h, ctx, err);
	if (rc < 0) {
		if (err && !err->plugin[0])
			snprintf(err->plugin, sizeof(err->plugin), "%s", ctx->p.name ? ctx->p.name : file);
		ctx_free(ctx);
		return rc;
	}
	log_line(3, "%s %s: loaded from %s", ctx->p.name, ctx->p.version, ctx->path);
	*ret = ctx;
	return 0;
}

static int call_open(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	return ctx->p.open(&host_table, ctx, &ctx->state, err);
}

static int call_close(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	ctx->p.close(ctx->state);
	return 0;
}

int host_open(struct crcore_ctx *ctx, struct crcore_error *err)
{
	int rc = host_call(ctx, STAGE_OPEN, call_open, NULL, err);

	ctx->opened = rc == 0;
	return rc;
}

static void close_one(struct crcore_ctx *ctx)
{
	struct crcore_error err = CRCORE_ERROR_INIT;

	if (!ctx->opened)
		return;
	ctx->opened = false;
	if (!ctx->dead && host_call(ctx, STAGE_CLOSE, call_close, NULL, &err) < 0)
		log_error(1, &err);
}

void host_drop(struct crcore_ctx *ctx)
{
	struct host *h = ctx->host;

	close_one(ctx);
	h->nplugins--;
	for (unsigned i = ctx->index; i < h->nplugins; i++) {
		h->plugins[i] = h->plugins[i + 1];
		h->plugins[i]->index = i;
	}
	ctx_free(ctx);
}

static int open_all(struct host *h, struct crcore_error *err)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < h->nplugins; i++)
		rc = host_open(h->order[STAGE_OPEN][i], err);
	return rc;
}

bool host_is_spare(const struct host *h, const char *name)
{
	for (const char *const *s = h->spare; s && *s; s++)
		if (!strcmp(*s, name))
			return true;
	for (unsigned i = 0; i < h->nlater; i++)
		if (!strcmp(h->later[i].key, name))
			return true;
	return false;
}

/* What is set for it is checked, wanted or not. */
static bool is_set(const struct host *h, const char *key)
{
	const struct node *map = policy_plugin_node(h->policy, key);

	return map && map->child;
}

static int load_plugins(struct host *h, bool open, struct crcore_error *err)
{
	struct finder finder;
	struct crcore_ctx *ctx;
	const char *key;
	int rc = limit_start(h, err);

	if (rc < 0)
		return rc;
	finder_start(&finder);
	for (unsigned i = 0; rc == 0 && (key = policy_plugin(h->policy, i)); i++)
		if (!host_is_spare(h, key) || is_set(h, key))
			rc = host_load_one(h, &finder, key, i, is_set(h, key), &ctx, err);
	if (rc == 0)
		rc = host_sort(h, err);
	if (rc == 0 && open)
		rc = open_all(h, err);
	limit_stop(h);
	return rc;
}

static int load_all(struct policy *policy, bool open, bool patient, const char *const *spare,
                    struct host **ret, struct crcore_error *err)
{
	struct host *h = calloc(1, sizeof(*h));
	int rc = h ? 0 : crcore_no_memory(err);

	if (rc < 0)
		return rc;
	h->policy = policy;
	h->spare = spare;
	h->patient = patient;
	rc = load_plugins(h, open, err);
	h->spare = NULL;
	if (rc < 0) {
		host_free(h);
		return rc;
	}
	h->keep_loaded = open;
	*ret = h;
	return 0;
}

int host_load(struct policy *policy, struct host **ret, struct crcore_error *err)
{
	return load_all(policy, true, false, NULL, ret, err);
}

int host_load_lazily(struct policy *policy, struct host **ret, struct crcore_error *err)
{
	return load_all(policy, true, true, NULL, ret, err);
}

int host_load_but(struct policy *policy, const char *const *spare, struct host **ret,
                  struct crcore_error *err)
{
	return load_all(policy, true, false, spare, ret, err);
}

int host_look(struct policy *policy, struct host **ret, struct crcore_error *err)
{
	return load_all(policy, false, false, NULL, ret, err);
}

/* In the reverse of the order of open: a plugin may rely on those before it to the end. */
static void close_all(struct host *h)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	const bool series = limit_start(h, &err) == 0;

	for (unsigned i = h->nplugins; h->order[STAGE_OPEN] && i-- > 0;)
		close_one(h->order[STAGE_OPEN][i]);
	if (series)
		limit_stop(h);
}

void host_free(struct host *h)
{
	if (!h)
		return;
	host_undo(h, false);
	host_wills_drop(h);
	close_all(h);
	limit_free(h);
	for (unsigned i = 0; i < h->nplugins; i++)
		ctx_free(h->plugins[i]);
	for (unsigned s = 0; s < NSTAGES; s++)
		free(h->order[s]);
	free(h->plugins);
	free(h->later);
	free(h);
}

bool host_keeps(const struct host *h, const char *what)
{
	for (unsigned i = 0; i < h->nplugins; i++)
		for (const char *const *k = h->plugins[i]->p.keeps; k && *k; k++)
			if (!strcmp(*k, what))
				return true;
	return false;
}

struct crcore_ctx *host_find(struct host *h, const char *name)
{
	for (unsigned i = 0; i < h->nplugins; i++)
		if (!strcmp(h->plugins[i]->p.name, name))
			return h->plugins[i];
	return NULL;
}
