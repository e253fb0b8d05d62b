/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `show --json`: all core records as JSON, by their descriptors, so a new field
 * of a record is shown without a change here. Masks and checksums (fixed64) are
 * strings in hex. Byte fields are contents or kernel structs: only their length
 * is said, except for the few that are decoded below.
 */
#include <inttypes.h>
#include "core/cli/show.h"
#include "core/util/json.h"
#include "core/util/util.h"

struct sigaction_kernel { uint64_t handler, flags, restorer, mask; };

static void fields(struct json *j, const ProtobufCMessage *m, const char *const *skip);

static void json_message(struct json *j, const char *key, const ProtobufCMessage *m)
{
	if (!m) {
		json_null(j, key);
		return;
	}
	json_object(j, key);
	fields(j, m, NULL);
	json_end(j);
}

static void json_length(struct json *j, const char *key, size_t len)
{
	json_object(j, key);
	json_uint(j, "bytes", len);
	json_end(j);
}

static void enum_word(struct json *j, const char *key, const ProtobufCEnumDescriptor *e, int v)
{
	const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(e, v);

	if (known)
		json_string(j, key, known->name);
	else
		json_int(j, key, v);
}

/* Prints one value; returns the size it has in an array. */
static size_t value(struct json *j, const char *key, const ProtobufCFieldDescriptor *f,
                    const void *v)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		json_int(j, key, *(const int32_t *)v);
		return sizeof(int32_t);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		json_uint(j, key, *(const uint32_t *)v);
		return sizeof(uint32_t);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		json_int(j, key, *(const int64_t *)v);
		return sizeof(int64_t);
	case PROTOBUF_C_TYPE_UINT64:
		json_uint(j, key, *(const uint64_t *)v);
		return sizeof(uint64_t);
	case PROTOBUF_C_TYPE_FIXED64:
		json_hex(j, key, *(const uint64_t *)v);
		return sizeof(uint64_t);
	case PROTOBUF_C_TYPE_BOOL:
		json_bool(j, key, *(const protobuf_c_boolean *)v);
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_ENUM:
		enum_word(j, key, f->descriptor, *(const int *)v);
		return sizeof(int);
	case PROTOBUF_C_TYPE_STRING:
		json_string(j, key, *(const char *const *)v);
		return sizeof(char *);
	case PROTOBUF_C_TYPE_BYTES:
		json_length(j, key, ((const ProtobufCBinaryData *)v)->len);
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_MESSAGE:
		json_message(j, key, *(const ProtobufCMessage *const *)v);
		return sizeof(ProtobufCMessage *);
	default: /* floating point: no record has it */
		json_null(j, key);
		return sizeof(double);
	}
}

static bool listed(const char *const *list, const char *name)
{
	for (; list && *list; list++)
		if (!strcmp(*list, name))
			return true;
	return false;
}

static void fields(struct json *j, const ProtobufCMessage *m, const char *const *skip)
{
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		const char *at = (const char *)m + f->offset;
		if (listed(skip, f->name))
			continue;
		if (f->label != PROTOBUF_C_LABEL_REPEATED) {
			value(j, f->name, f, at);
			continue;
		}
		size_t n = *(const size_t *)((const char *)m + f->quantifier_offset);
		const char *v = *(const char *const *)at;
		json_array(j, f->name);
		while (n--)
			v += value(j, NULL, f, v);
		json_end(j);
	}
}

/* ---- what is more than its fields ---- */

static void manifest(struct json *j, const struct show *s)
{
	static const char *const skip[] = { "policy", "files", NULL };
	const Crcore__Manifest *m = image_manifest(s->img);

	json_object(j, "manifest");
	fields(j, &m->base, skip);
	json_string_len(j, "policy", (const char *)m->policy.data, m->policy.len);
	json_array(j, "files");
	for (size_t i = 0; i < m->n_files; i++) {
		json_object(j, NULL);
		json_string(j, "name", m->files[i]->name);
		json_uint(j, "length", m->files[i]->length);
		json_hex(j, "xxh3", m->files[i]->xxh3);
		json_bool(j, "in_manifest", m->files[i]->contents.len > 0);
		json_end(j);
	}
	json_end(j);
	json_end(j);
}

static void tasks(struct json *j, const struct show *s)
{
	json_array(j, "tasks");
	for (unsigned i = 0; i < s->records.ntasks; i++) {
		const Crcore__Task *t = s->records.tasks[i];
		size_t len = 0;
		cleanup_free char *args = show_cmdline(s, t, &len);
		json_object(j, NULL);
		json_string(j, "name", show_comm(t));
		json_array(j, "cmdline");
		for (size_t at = 0; at < len; at += strlen(args + at) + 1)
			json_string(j, NULL, args + at);
		json_end(j);
		fields(j, &t->base, NULL);
		json_end(j);
	}
	json_end(j);
}

static void memory(struct json *j, const struct show *s)
{
	json_array(j, "memory");
	for (unsigned i = 0; i < s->records.nmms; i++) {
		const struct memory_count *c = &s->memory[i];
		json_object(j, NULL);
		json_uint(j, "mapped_bytes", c->mapped);
		json_uint(j, "stored_bytes", c->stored);
		json_uint(j, "zero_bytes", c->zero);
		json_uint(j, "shared_bytes", c->shared);
		fields(j, &s->records.mms[i]->base, NULL);
		json_end(j);
	}
	json_end(j);
}

static void sighands(struct json *j, const struct show *s)
{
	json_array(j, "sighands");
	for (unsigned i = 0; i < s->records.nsighands; i++) {
		const Crcore__Sighand *h = s->records.sighands[i];
		json_object(j, NULL);
		json_uint(j, "id", h->id);
		json_array(j, "actions");
		for (size_t k = 0; k < h->n_actions; k++) {
			struct sigaction_kernel a;
			memcpy(&a, h->actions[k].data, sizeof(a));
			if (!a.handler && !a.flags)
				continue;
			json_object(j, NULL);
			json_uint(j, "signal", k + 1);
			json_hex(j, "handler", a.handler);
			json_hex(j, "flags", a.flags);
			json_hex(j, "mask", a.mask);
			json_end(j);
		}
		json_end(j);
		json_end(j);
	}
	json_end(j);
}

static void array(struct json *j, const char *key, void *records, unsigned n)
{
	ProtobufCMessage **m = records;

	json_array(j, key);
	for (unsigned i = 0; i < n; i++)
		json_message(j, NULL, m[i]);
	json_end(j);
}

static void sections(struct json *j, const struct show *s)
{
	const Crcore__Manifest *m = image_manifest(s->img);

	json_array(j, "sections");
	for (size_t i = 0; i < m->n_plugins; i++) {
		const Crcore__PluginUse *p = m->plugins[i];
		for (size_t k = 0; k < p->n_sections; k++) {
			struct section_count c = show_count_section(s, p->name, p->sections[k]->name);
			json_object(j, NULL);
			json_string(j, "plugin", p->name);
			json_string(j, "section", p->sections[k]->name);
			json_uint(j, "version", p->sections[k]->version);
			json_uint(j, "records", c.records);
			json_uint(j, "bytes", c.bytes);
			json_end(j);
		}
	}
	json_end(j);
}

void show_json(const struct show *s, FILE *f)
{
	struct json j = JSON_INIT(f);
	const struct core_records *c = &s->records;

	json_object(&j, NULL);
	json_string(&j, "image", s->dir);
	manifest(&j, s);
	tasks(&j, s);
	memory(&j, s);
	array(&j, "files", c->files, c->nfiles);
	array(&j, "fs", c->fs, c->nfs);
	sighands(&j, s);
	array(&j, "objects", c->objects, c->nobjects);
	array(&j, "segments", c->segments, c->nsegments);
	sections(&j, s);
	json_end(&j);
}
