/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is what a plugin says of itself sound? Its struct may be older (smaller)
 * than ours, or newer: then it is taken only if it uses nothing that we do not
 * know. A set of hooks that could save what it cannot restore is refused.
 */
#include "core/host/internal.h"
#include "core/util/util.h"

/* All of the struct that no plugin may lack. */
#define OLDEST_SIZE offsetof(struct crcore_plugin, observe)

static int wrong_size(struct crcore_error *err, size_t said, size_t is)
{
	crcore_advise(err, "fill size with CRCORE_PLUGIN_HEADER and build it again");
	return crcore_fail(err, -EINVAL, "says that its struct crcore_plugin has %zu bytes, "
	                   "but it has %zu (at least %zu are needed)", said, is, OLDEST_SIZE);
}

int host_take_struct(struct crcore_ctx *ctx, const void *exported, size_t symbol_size,
                     struct crcore_error *err)
{
	const unsigned char *bytes = exported;
	uint32_t head[2];

	if (symbol_size < sizeof(head))
		return wrong_size(err, symbol_size, symbol_size);
	memcpy(head, exported, sizeof(head));
	if (head[1] > CRCORE_ABI_VERSION) {
		crcore_advise(err, "install a newer crcore, or a version of the plugin for this one");
		return crcore_fail(err, -ENOTSUP, "was built for version %u of the plugin ABI, this "
		                   "crcore has version %u", head[1], CRCORE_ABI_VERSION);
	}
	if (head[1] == 0) {
		crcore_advise(err, "fill abi_version with CRCORE_PLUGIN_HEADER and build it again");
		return crcore_fail(err, -EINVAL, "says that it was built for version 0 of the plugin ABI, "
		                   "which there never was; this crcore has version %u", CRCORE_ABI_VERSION);
	}
	if (head[0] < OLDEST_SIZE || head[0] > symbol_size)
		return wrong_size(err, head[0], symbol_size);
	for (size_t i = sizeof(ctx->p); i < head[0]; i++)
		if (bytes[i]) {
			crcore_advise(err, "install a newer crcore, or a version of the plugin for this one");
			return crcore_fail(err, -ENOTSUP, "uses a field of struct crcore_plugin (at byte %zu) "
			                   "that this crcore does not know", i);
		}
	memset(&ctx->p, 0, sizeof(ctx->p));
	memcpy(&ctx->p, exported, head[0] < sizeof(ctx->p) ? head[0] : sizeof(ctx->p));
	return 0;
}

static int missing(struct crcore_error *err, const char *what, const char *why)
{
	crcore_advise(err, "see the plugin guide for which hooks go together");
	return crcore_fail(err, -EINVAL, "lacks %s, %s", what, why);
}

static int check_hooks(const struct crcore_plugin *p, struct crcore_error *err)
{
	if (!p->open)
		return missing(err, "the hook open", "which every plugin must have");
	if (!p->close)
		return missing(err, "the hook close", "which every plugin must have");
	if (p->save_object && !p->claim)
		return missing(err, "the hook claim", "without which save_object is never called");
	if (p->review && !p->claim)
		return missing(err, "the hook claim", "without which review is never called");
	if (p->create && !p->claim)
		return missing(err, "the hook claim", "without which create is never called");
	if (p->save_object && !p->create)
		return missing(err, "the hook create", "so what save_object saves could not be restored");
	if (p->create && !p->load_record)
		return missing(err, "the hook load_record", "so create could not know what to make");
	if (p->plan && !p->create)
		return missing(err, "the hook create", "without which plan is never called");
	if (p->load_record && (!p->sections || !p->sections->name))
		return missing(err, "sections", "without which load_record is never called");
	if (p->sections && p->sections->name && !p->load_record)
		return missing(err, "the hook load_record", "so what is in its sections would be lost");
	return 0;
}

static int check_sections(const struct crcore_plugin *p, struct crcore_error *err)
{
	for (const struct crcore_section *s = p->sections; s && s->name; s++) {
		if (!host_valid_name(s->name))
			return crcore_fail(err, -EINVAL, "\"%s\" is no name for a section (a-z, 0-9, '-')",
			                   s->name);
		if (!s->version)
			return crcore_fail(err, -EINVAL, "section \"%s\" has version 0; begin with 1", s->name);
		for (const struct crcore_section *t = p->sections; t < s; t++)
			if (!strcmp(s->name, t->name))
				return crcore_fail(err, -EEXIST, "section \"%s\" is declared twice", s->name);
		for (const struct crcore_field *f = s->fields; f && f->number; f++)
			if (f->sensitivity > CRCORE_PAYLOAD || !f->name)
				return crcore_fail(err, -EINVAL, "section \"%s\": field %u has no name or no valid "
				                   "sensitivity", s->name, f->number);
	}
	return 0;
}

static int check_options(const struct crcore_plugin *p, struct crcore_error *err)
{
	for (const struct crcore_option *o = p->options; o && o->name; o++) {
		if (!host_valid_name(o->name))
			return crcore_fail(err, -EINVAL, "\"%s\" is no name for an option (a-z, 0-9, '-')",
			                   o->name);
		if (!strcmp(o->name, "time-limit"))
			return crcore_fail(err, -EINVAL, "option \"time-limit\" is one that the host gives "
			                   "every plugin");
		if (o->type < CRCORE_BOOL || o->type > CRCORE_MAP)
			return crcore_fail(err, -EINVAL, "option \"%s\" has the unknown type %u", o->name,
			                   o->type);
		if (o->type == CRCORE_CHOICE && (!o->choices || !o->choices[0]))
			return crcore_fail(err, -EINVAL, "option \"%s\" is a choice of nothing", o->name);
		for (const struct crcore_option *t = p->options; t < o; t++)
			if (!strcmp(o->name, t->name))
				return crcore_fail(err, -EEXIST, "option \"%s\" is declared twice", o->name);
	}
	return 0;
}

int host_check_declared(const struct crcore_ctx *ctx, struct crcore_error *err)
{
	const struct crcore_plugin *p = &ctx->p;
	int rc = 0;

	if (!p->name || !host_valid_name(p->name))
		rc = crcore_fail(err, -EINVAL, "\"%s\" is no name for a plugin (up to 39 of a-z, 0-9, '-')",
		                 p->name ? p->name : "");
	else if (!p->version || !p->summary)
		rc = crcore_fail(err, -EINVAL, "lacks its %s", p->version ? "summary" : "version");
	if (rc == 0)
		rc = check_hooks(p, err);
	if (rc == 0)
		rc = check_sections(p, err);
	return rc < 0 ? rc : check_options(p, err);
}
