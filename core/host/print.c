/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `crcore plugins`: what would be loaded, in which order, with which hooks,
 * claims, options, sections and needs. For people, and as JSON for programs.
 */
#include <sys/capability.h>
#include "core/host/internal.h"
#include "core/util/util.h"

struct named_hook { const char *name; size_t offset; };
#define HOOK(h) { #h, offsetof(struct crcore_plugin, h) }
static const struct named_hook hooks[] = {
	HOOK(open), HOOK(close), HOOK(observe), HOOK(claim), HOOK(review), HOOK(ask), HOOK(hold),
	HOOK(save_object), HOOK(save), HOOK(load_record), HOOK(check), HOOK(plan), HOOK(create),
	HOOK(emit), HOOK(settle), HOOK(release),
};
static const char *const types[] = {
	"?", "bool", "int", "size", "seconds", "string", "choice", "list", "map",
};
static const char *const sensitivities[] = { "plain", "path", "address", "name", "payload" };

bool host_holds(uint32_t capability)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t v = CAP_CLEAR;

	if (caps)
		cap_get_flag(caps, (cap_value_t)capability, CAP_EFFECTIVE, &v);
	cap_free(caps);
	return v == CAP_SET;
}

void host_capability_name(uint32_t capability, char *ret, size_t len)
{
	char *name = cap_to_name((cap_value_t)capability);

	snprintf(ret, len, "%s", name ? name : "unknown");
	cap_free(name);
}

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
		fprintf(f, "  %-10s%s, version %u", s == p->sections ? "sections" : "", s->name, s->version);
		for (const struct crcore_field *d = s->fields; d && d->number; d++)
			fprintf(f, "%s%s (%s)", d == s->fields ? ": " : ", ", d->name,
			        sensitivities[d->sensitivity]);
		fputc('\n', f);
	}
}

static void text_plugin(FILE *f, const struct crcore_ctx *ctx)
{
	const struct crcore_plugin *p = &ctx->p;
	char cap[64];

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
		host_capability_name(n->capability, cap, sizeof(cap));
		fprintf(f, "  %-10s%s, %s: %s\n", n == p->needs ? "needs" : "", cap,
		        host_holds(n->capability) ? "held" : "NOT held", n->what_for);
	}
	fprintf(f, "  %-10sABI %u, %.3g s a hook\n\n", "limits", p->abi_version,
	        (double)ctx->time_limit / 1e9);
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
			const struct crcore_ctx *ctx = h->order[s][s == STAGE_CLOSE ? h->nplugins - 1 - i : i];

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

static void json_string(FILE *f, const char *s)
{
	if (!s) {
		fputs("null", f);
		return;
	}
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fprintf(f, "\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			fprintf(f, "\\u%04x", (unsigned)*s);
		else
			fputc(*s, f);
	}
	fputc('"', f);
}

/* "key": "value", after a comma unless first */
static void json_pair(FILE *f, bool first, const char *key, const char *value)
{
	fprintf(f, "%s\"%s\": ", first ? "" : ", ", key);
	json_string(f, value);
}

static void json_options(FILE *f, const struct crcore_plugin *p)
{
	fputs(", \"options\": [", f);
	for (const struct crcore_option *o = p->options; o && o->name; o++) {
		fputs(o == p->options ? "{" : ", {", f);
		json_pair(f, true, "name", o->name);
		json_pair(f, false, "type", types[o->type]);
		json_pair(f, false, "default", o->default_value);
		json_pair(f, false, "help", o->help);
		fputs(", \"choices\": [", f);
		for (const char *const *c = o->type == CRCORE_CHOICE ? o->choices : NULL; c && *c; c++) {
			fputs(c == o->choices ? "" : ", ", f);
			json_string(f, *c);
		}
		fputs("]}", f);
	}
	fputc(']', f);
}

static void json_sections(FILE *f, const struct crcore_plugin *p)
{
	fputs(", \"sections\": [", f);
	for (const struct crcore_section *s = p->sections; s && s->name; s++) {
		fputs(s == p->sections ? "{" : ", {", f);
		json_pair(f, true, "name", s->name);
		fprintf(f, ", \"version\": %u, \"fields\": [", s->version);
		for (const struct crcore_field *d = s->fields; d && d->number; d++) {
			fprintf(f, "%s{\"number\": %u", d == s->fields ? "" : ", ", d->number);
			json_pair(f, false, "name", d->name);
			json_pair(f, false, "sensitivity", sensitivities[d->sensitivity]);
			fputc('}', f);
		}
		fputs("]}", f);
	}
	fputc(']', f);
}

static void json_needs(FILE *f, const struct crcore_plugin *p)
{
	char cap[64];

	fputs(", \"needs\": [", f);
	for (const struct crcore_need *n = p->needs; n && n->what_for; n++) {
		host_capability_name(n->capability, cap, sizeof(cap));
		fputs(n == p->needs ? "{" : ", {", f);
		json_pair(f, true, "capability", cap);
		json_pair(f, false, "for", n->what_for);
		fprintf(f, ", \"held\": %s}", host_holds(n->capability) ? "true" : "false");
	}
	fputc(']', f);
}

static void json_plugin(FILE *f, const struct crcore_ctx *ctx)
{
	const struct crcore_plugin *p = &ctx->p;
	unsigned n = 0;

	json_pair(f, true, "name", p->name);
	json_pair(f, false, "version", p->version);
	json_pair(f, false, "summary", p->summary);
	json_pair(f, false, "file", ctx->path);
	json_pair(f, false, "claims", p->claims);
	fprintf(f, ", \"abi\": %u, \"time_limit_ns\": %lld, \"hooks\": [", p->abi_version,
	        (long long)ctx->time_limit);
	for (unsigned i = 0; i < ARRAY_SIZE(hooks); i++)
		if (has(p, &hooks[i])) {
			fputs(n++ ? ", " : "", f);
			json_string(f, hooks[i].name);
		}
	fputc(']', f);
	json_options(f, p);
	json_sections(f, p);
	json_needs(f, p);
}

static void print_json(struct host *h, FILE *f)
{
	fputs("{\"plugins\": [", f);
	for (unsigned i = 0; i < h->nplugins; i++) {
		fputs(i ? ",\n  {" : "\n  {", f);
		json_plugin(f, h->plugins[i]);
		fputc('}', f);
	}
	fputs("\n], \"order\": {", f);
	for (unsigned s = 0; s < NSTAGES; s++) {
		unsigned n = 0;

		fprintf(f, "%s\n  \"%s\": [", s ? "," : "", stage_name(s));
		for (unsigned i = 0; i < h->nplugins; i++) {
			const struct crcore_ctx *ctx = h->order[s][s == STAGE_CLOSE ? h->nplugins - 1 - i : i];

			if (!stage_has_hook(&ctx->p, s))
				continue;
			fputs(n++ ? ", " : "", f);
			json_string(f, ctx->p.name);
		}
		fputc(']', f);
	}
	fputs("\n}}\n", f);
}

void host_print(struct host *h, FILE *f, bool json)
{
	if (json)
		print_json(h, f);
	else
		print_text(h, f);
}
