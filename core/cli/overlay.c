/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy of a command: what it begins with (a file, or for a restore the
 * policy that the image was made with), then --policy, --plugins, and the flags
 * that set options. A flag is the last to speak, whatever the order.
 */
#include "core/cli/flags.h"
#include "core/host/host.h"
#include "core/image/image.h"
#include "core/util/util.h"
#include <limits.h>

static bool is_flag(const struct given *g, const char *name)
{
	return !g->flag->apply && !g->flag->option && !strcmp(g->flag->name, name);
}

static int load_named(struct policy *p, const char *name, struct crcore_error *err)
{
	char path[PATH_MAX];
	int r = policy_find(name, path, sizeof(path), err);

	return r < 0 ? r : policy_load(p, path, err);
}

static int load_from_image(struct args *a, struct crcore_error *err)
{
	struct image *image = NULL;
	char origin[PATH_MAX];
	int r = image_open(a->command.images_dir, false, &image, err);

	if (r < 0)
		return r;
	const Crcore__Manifest *m = image_manifest(image);
	snprintf(origin, sizeof(origin), "%s/manifest", a->command.images_dir);
	r = policy_load_bytes(a->command.policy, origin, m->policy.data, m->policy.len, err);
	image_close(image);
	return r;
}

static int load_base(struct args *a, struct crcore_error *err)
{
	enum base base = a->verb->base;
	bool named = false;
	int r = 0;

	/* policy and plugins are about the next dump, or with -D about an image */
	if (base == BASE_DEFAULT && a->images_dir && (a->verb->bit & (V_POLICY | V_PLUGINS)))
		base = BASE_IMAGE;
	if (base == BASE_IMAGE)
		r = load_from_image(a, err);
	for (unsigned i = 0; r >= 0 && i < a->ngiven; i++)
		if (is_flag(&a->given[i], "policy")) {
			r = load_named(a->command.policy, a->given[i].value, err);
			named = true;
		}
	if (r >= 0 && base == BASE_DEFAULT && !named)
		r = load_named(a->command.policy, "default", err);
	return r;
}

/* --set KEY=VALUE and KEY+=VALUE. The option is behind the last dot: a path has dots too. */
static int set_any(struct policy *p, const char *text, struct crcore_error *err)
{
	const char *equals = strchr(text, '=');
	bool append = equals && equals > text && equals[-1] == '+';
	cleanup_free char *key = equals ? strndup(text, (size_t)(equals - text) - append) : NULL;
	char *dot = key ? strrchr(key, '.') : NULL;

	if (!dot || dot == key || !dot[1]) {
		crcore_advise(err, "write --set PLUGIN.OPTION=VALUE, e.g. --set dump.timeout=20s");
		return crcore_fail(err, -EINVAL, "'%s' is not KEY=VALUE", text);
	}
	*dot = 0;
	if (strcmp(key, "dump") && strcmp(key, "restore"))
		return policy_set(p, key, dot + 1, equals + 1, append, "--set", err);
	*dot = '.';
	return policy_set(p, NULL, key, equals + 1, append, "--set", err);
}

/* Can a plugin be loaded at all? To name one that cannot would be no advice. */
static bool is_installed(const char *plugin)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct policy *p = policy_new();
	struct host *h = NULL;
	bool yes = p && policy_set_plugins(p, plugin, &ignored) >= 0 && host_look(p, &h, &ignored) >= 0;

	host_free(h);
	policy_free(p);
	return yes;
}

/* Flags that take a value for a plugin may come from the environment: --tmp-file is
 * CRCORE_TMP_FILE. NULL: this one does not. */
static const char *from_environment(const struct flag *f, char name[64])
{
	size_t at = (size_t)sprintf(name, "CRCORE_");

	for (const char *c = f->name; *c && at < 63; c++)
		name[at++] = *c == '-' ? '_' : *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
	name[at] = '\0';
	const char *value = f->plugin && f->option && f->metavar ? secure_getenv(name) : NULL;
	return value && *value ? value : NULL;
}

/* What is written on the command line speaks after it. */
static int set_from_environment(struct policy *p, const struct flag *f, struct crcore_error *err)
{
	char name[64];
	const char *value = from_environment(f, name);

	if (!value || !policy_plugin_node(p, f->plugin))
		return 0;
	int r = policy_set(p, f->plugin, f->option, value, f->append, name, err);
	if (r < 0)
		crcore_fail_at(err, -1, -1, "environment variable %s", name);
	return r;
}

static int set_option(struct policy *p, const struct given *g, struct crcore_error *err)
{
	const struct flag *f = g->flag;

	if (is_flag(g, "set"))
		return set_any(p, g->value, err);
	if (!f->option)
		return 0;
	if (f->plugin && !policy_plugin_node(p, f->plugin) && !is_installed(f->plugin)) {
		crcore_advise(err, "see 'crcore plugins' for those that are there");
		return crcore_fail(err, -ENOENT, "needs the plugin '%s', which is not installed",
		                   f->plugin);
	}
	return policy_set(p, f->plugin, f->option, g->value ? g->value : f->text, f->append, g->origin,
	                  err);
}

/* ---- plugins that only some need ---------------------------------------------------------- */

/* A flag of a plugin that is there, but not in the policy, brings the plugin along. */
static int bring(struct policy *p, const char *plugin, size_t len, struct crcore_error *err)
{
	char name[128] = "+";

	if (len >= sizeof(name) - 1 || memchr(plugin, '/', len) || memchr(plugin, '.', len))
		return 0;
	memcpy(name + 1, plugin, len);
	if (policy_plugin_node(p, name + 1) || !strcmp(name + 1, "dump") ||
	    !strcmp(name + 1, "restore") || !is_installed(name + 1))
		return 0;
	return policy_set_plugins(p, name, err);
}

/* Before a dump; an image has its plugins, and who gives a list means that list. */
static int bring_plugins(struct args *a, struct policy *p, struct crcore_error *err)
{
	char name[64];
	int r = 0;

	for (unsigned i = 0; i < a->ngiven; i++)
		if (is_flag(&a->given[i], "plugins"))
			return 0;
	if (!(a->verb->bit & (V_DUMP | V_CHECK)))
		return 0;
	for (const struct flag *f = flags; r >= 0 && f->name; f++)
		if (f->verbs & a->verb->bit && from_environment(f, name))
			r = bring(p, f->plugin, strlen(f->plugin), err);
	for (unsigned i = 0; r >= 0 && i < a->ngiven; i++) {
		const struct given *g = &a->given[i];
		const char *dot = is_flag(g, "set") ? strchr(g->value, '.') : NULL;
		if (dot)
			r = bring(p, g->value, (size_t)(dot - g->value), err);
		else if (g->flag->plugin && g->flag->option)
			r = bring(p, g->flag->plugin, strlen(g->flag->plugin), err);
	}
	return r;
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* The image will hold this policy as text, which a restore must be able to load. */
static int check_text(const struct policy *p, struct crcore_error *err)
{
	struct policy *again = policy_new();
	size_t len;
	cleanup_free char *text = policy_text(p, &len);
	int r = text && again ? policy_load_bytes(again, "policy with all flags", text, len, err) :
	                        crcore_no_memory(err);

	policy_free(again);
	return r;
}

int args_policy(struct args *a, struct crcore_error *err)
{
	struct policy *p = a->command.policy = policy_new();
	int r = p ? load_base(a, err) : crcore_no_memory(err);

	for (unsigned i = 0; r >= 0 && i < a->ngiven; i++)
		if (is_flag(&a->given[i], "plugins"))
			r = policy_set_plugins(p, a->given[i].value, err);
	if (r >= 0)
		r = bring_plugins(a, p, err);
	for (const struct flag *f = flags; r >= 0 && f->name; f++)
		if (f->verbs & a->verb->bit)
			r = set_from_environment(p, f, err);
	for (unsigned i = 0; r >= 0 && i < a->ngiven; i++) {
		r = set_option(p, &a->given[i], err);
		if (r < 0)
			crcore_fail_at(err, -1, -1, "%s", a->given[i].origin);
	}
	if (r >= 0 && a->verb->bit == V_DUMP)
		r = check_text(p, err);
	return r;
}
