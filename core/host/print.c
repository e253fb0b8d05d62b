/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `crcore plugins`: what would be loaded, in which order, with which hooks,
 * claims, options, sections and needs. For people, and as JSON for programs.
 */
#include "core/host/internal.h"
#include "core/util/capability.h"
#include "core/util/json.h"
#include "core/util/util.h"

struct named_hook { const char *name; size_t offset; };
#define HOOK(h) { #h, offsetof(struct crcore_plugin, h) }
static const struct named_hook hooks[] = {
	HOOK(open), HOOK(close), HOOK(observe), HOOK(claim), HOOK(review), HOOK(pause), HOOK(wake),
	HOOK(rest), HOOK(ask), HOOK(ask_again), HOOK(hold), HOOK(save_object), HOOK(save),
	HOOK(load_record), HOOK(check), HOOK(prepare), HOOK(plan), HOOK(create), HOOK(map), HOOK(emit),
	HOOK(emit_thread), HOOK(settle), HOOK(release), HOOK(done),
};
static const char *const types[] = {
	"?", "bool", "int", "size", "seconds", "string", "choice", "list", "map",
};
static const char *const sensitivities[] = { "plain", "path", "address", "name", "payload" };

static bool has(const struct crcore_plugin *p, const struct named_hook *h)
{
	void *fn;

	memcpy(&fn, (const char *)p + h->offset, sizeof(fn));
	return fn;
}

static void text_options(FILE *f, const struct crcore_plugin *p)
{
	for (const struct crcore_option *o = p->options; o && o->name; o++) {
		fprintf(f, "  %-10s%s: %s", o == p->options ? "options" : "", o->name, types[o->type]);
		for (const char *const *c = o->type == CRCORE_CHOICE ? o->choices : NULL; c && *c; c++)
			fprintf(f, "%s%s", c == o->choices ? " of " : "|", *c);
		if (o->default_value)
			fprintf(f, ", default %s", *o->default_value ? o->default_value : "\"\"");
		fprintf(f, "%s%s\n", o->help ? ". " : "", o->help ? o->help : "");
	}
}

static void text_sections(FILE *f, const struct crcore_plugin *p)
{
	for (const struct crcore_section *s = p->sections; s && s->name; s++) {
		fprintf(f, "  %-10s%s, version %u", s == p->sections ? "sections" : "", s->name,
		        s->version);
		for (const struct crcore_field *d = s->fields; d && d->number; d++)
			fprintf(f, "%s%s (%s)", d == s->fields ? ": " : ", ", d->name,
			        sensitivities[d->sensitivity]);
		fputc('\n', f);
	}
}

static void text_plugin(FILE *f, const struct crcore_ctx *ctx)
{
	const struct crcore_plugin *p = &ctx->p;
	char cap[CAPABILITY_NAME_MAX];

	fprintf(f, "%s %s: %s\n  %-10s%s\n", p->name, p->version, p->summary, "file", ctx->path);
	if (p->claims)
		fprintf(f, "  %-10s%s\n", "claims", p->claims);
	fprintf(f, "  %-10s", "hooks");
	for (unsigned i = 0, n = 0; i < ARRAY_SIZE(hooks); i++)
		if (has(p, &hooks[i]))
			fprintf(f, "%s%s", n++ ? " " : "", hooks[i].name);
	fputc('\n', f);
	text_options(f, p);
	text_sections(f, p);
	for (const struct crcore_need *n = p->needs; n && n->what_for; n++) {
		cap_value_t c = (cap_value_t)n->capability;
		fprintf(f, "  %-10s%s, %s: %s\n", n == p->needs ? "needs" : "", capability_name(c, cap),
		        has_capability(c) ? "held" : "NOT held", n->what_for);
	}
	fprintf(f, "  %-10sABI %u, %.3g s a hook\n\n", "limits", p->abi_version,
	        (double)ctx->time_limit / 1e9);
}

/* The plugin whose turn is ith in a stage; close goes backwards through that of open. */
static const struct crcore_ctx *nth(struct host *h, enum stage s, unsigned i)
{
	return s == STAGE_CLOSE ? h->order[STAGE_OPEN][h->nplugins - 1 - i] : h->order[s][i];
}

static void print_text(struct host *h, FILE *f)
{
	for (unsigned i = 0; i < h->nplugins; i++)
		text_plugin(f, h->plugins[i]);
	if (!h->nplugins)
		fputs("No plugins: the policy names none.\n", f);
	else
		fputs("Order in each stage\n", f);
	for (unsigned s = 0; h->nplugins && s < NSTAGES; s++) {
		unsigned n = 0;

		for (unsigned i = 0; i < h->nplugins; i++) {
			const struct crcore_ctx *ctx = nth(h, s, i);

			if (!stage_has_hook(&ctx->p, s))
				continue;
			if (!n++)
				fprintf(f, "  %-10s", stage_name(s));
			fprintf(f, "%s%s", n > 1 ? ", " : "", ctx->p.name);
		}
		if (n)
			fputc('\n', f);
	}
}

static void json_options(struct json *j, const struct crcore_plugin *p)
{
	json_array(j, "options");
	for (const struct crcore_option *o = p->options; o && o->name; o++) {
		json_object(j, NULL);
		json_string(j, "name", o->name);
		json_string(j, "type", types[o->type]);
		json_string(j, "default", o->default_value);
		json_string(j, "help", o->help);
		json_array(j, "choices");
		for (const char *const *c = o->type == CRCORE_CHOICE ? o->choices : NULL; c && *c; c++)
			json_string(j, NULL, *c);
		json_end(j);
		json_end(j);
	}
	json_end(j);
}

static void json_sections(struct json *j, const struct crcore_plugin *p)
{
	json_array(j, "sections");
	for (const struct crcore_section *s = p->sections; s && s->name; s++) {
		json_object(j, NULL);
		json_string(j, "name", s->name);
		json_uint(j, "version", s->version);
		json_array(j, "fields");
		for (const struct crcore_field *d = s->fields; d && d->number; d++) {
			json_object(j, NULL);
			json_uint(j, "number", d->number);
			json_string(j, "name", d->name);
			json_string(j, "sensitivity", sensitivities[d->sensitivity]);
			json_end(j);
		}
		json_end(j);
		json_end(j);
	}
	json_end(j);
}

static void json_needs(struct json *j, const struct crcore_plugin *p)
{
	char cap[CAPABILITY_NAME_MAX];

	json_array(j, "needs");
	for (const struct crcore_need *n = p->needs; n && n->what_for; n++) {
		json_object(j, NULL);
		json_string(j, "capability", capability_name((cap_value_t)n->capability, cap));
		json_string(j, "for", n->what_for);
		json_bool(j, "held", has_capability((cap_value_t)n->capability));
		json_end(j);
	}
	json_end(j);
}

static void json_plugin(struct json *j, const struct crcore_ctx *ctx)
{
	const struct crcore_plugin *p = &ctx->p;

	json_object(j, NULL);
	json_string(j, "name", p->name);
	json_string(j, "version", p->version);
	json_string(j, "summary", p->summary);
	json_string(j, "file", ctx->path);
	json_string(j, "claims", p->claims);
	json_uint(j, "abi", p->abi_version);
	json_int(j, "time_limit_ns", ctx->time_limit);
	json_array(j, "hooks");
	for (unsigned i = 0; i < ARRAY_SIZE(hooks); i++)
		if (has(p, &hooks[i]))
			json_string(j, NULL, hooks[i].name);
	json_end(j);
	json_options(j, p);
	json_sections(j, p);
	json_needs(j, p);
	json_end(j);
}

static void print_json(struct host *h, FILE *f)
{
	struct json j = JSON_INIT(f);

	json_object(&j, NULL);
	json_array(&j, "plugins");
	for (unsigned i = 0; i < h->nplugins; i++)
		json_plugin(&j, h->plugins[i]);
	json_end(&j);
	json_object(&j, "order");
	for (unsigned s = 0; s < NSTAGES; s++) {
		json_array(&j, stage_name(s));
		for (unsigned i = 0; i < h->nplugins; i++) {
			const struct crcore_ctx *ctx = nth(h, s, i);
			if (stage_has_hook(&ctx->p, s))
				json_string(&j, NULL, ctx->p.name);
		}
		json_end(&j);
	}
	json_end(&j);
	json_end(&j);
}

void host_print(struct host *h, FILE *f, bool json)
{
	if (json)
		print_json(h, f);
	else
		print_text(h, f);
}
