/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unpacking a record that came from outside. A message of two bytes on disk can
 * be a struct of hundreds in memory, so what may be allocated is bounded by the
 * record's length. A field or value that this version does not know means that
 * something of the process would be lost: refused, never skipped.
 */
#include "core/image/image_priv.h"

struct budget { size_t left; };

static void *budget_alloc(void *data, size_t size)
{
	struct budget *b = data;

	if (size > b->left)
		return NULL;
	b->left -= size;
	return malloc(size);
}

static void budget_free(void *data, void *p)
{
	free(p); /* what is freed is not given back: the bound is on the work done */
}

static const char *check_message(const ProtobufCMessage *);

static const char *check_value(const ProtobufCFieldDescriptor *f, const void *value)
{
	if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
		const ProtobufCMessage *sub = *(ProtobufCMessage *const *)value;
		return sub ? check_message(sub) : NULL;
	}
	if (f->type == PROTOBUF_C_TYPE_STRING) {
		const char *s = *(char *const *)value;
		if (s && strnlen(s, IMAGE_STRING_MAX) == IMAGE_STRING_MAX)
			return "has a string that is too long";
	}
	if (f->type == PROTOBUF_C_TYPE_ENUM &&
	    !protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int *)value))
		return "has a value that this version of crcore does not know";
	return NULL;
}

/* Size of an element of a repeated field of the types that need a look. */
static size_t element_size(const ProtobufCFieldDescriptor *f)
{
	return f->type == PROTOBUF_C_TYPE_ENUM ? sizeof(int) : sizeof(void *);
}

static const char *check_field(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	const char *at = (const char *)m + f->offset, *bad = NULL;

	if (f->type != PROTOBUF_C_TYPE_MESSAGE && f->type != PROTOBUF_C_TYPE_STRING &&
	    f->type != PROTOBUF_C_TYPE_ENUM)
		return NULL;
	if (f->label != PROTOBUF_C_LABEL_REPEATED)
		return check_value(f, at);
	size_t n = *(const size_t *)((const char *)m + f->quantifier_offset);
	const char *v = *(const char *const *)at;
	for (size_t i = 0; i < n && !bad; i++)
		bad = check_value(f, v + i * element_size(f));
	return bad;
}

static const char *check_message(const ProtobufCMessage *m)
{
	const char *bad = NULL;

	if (m->n_unknown_fields)
		return "has a field that this version of crcore does not know";
	for (unsigned i = 0; i < m->descriptor->n_fields && !bad; i++)
		bad = check_field(m, &m->descriptor->fields[i]);
	return bad;
}

ProtobufCMessage *message_unpack(const ProtobufCMessageDescriptor *type, const void *bytes,
                                 size_t len, struct crcore_error *err)
{
	/* The widest of our messages per byte on disk: nested structs of two bytes each. */
	struct budget budget = { 16384 + len * 128 };
	ProtobufCAllocator allocator = { budget_alloc, budget_free, &budget };
	ProtobufCMessage *m = protobuf_c_message_unpack(type, &allocator, len, bytes);

	if (!m) {
		crcore_fail(err, -EBADMSG, "is not a valid %s: damaged", type->short_name);
		return NULL;
	}
	const char *bad = check_message(m);
	if (bad) {
		crcore_fail(err, -EBADMSG, "%s", bad);
		crcore_advise(err, "use the version of crcore that made the image, or a newer one");
		protobuf_c_message_free_unpacked(m, NULL);
		return NULL;
	}
	return m;
}
