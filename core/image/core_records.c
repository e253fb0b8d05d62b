/* SPDX-License-Identifier: Apache-2.0 */
/* Loading the core's sections into arrays, and finding records by their id. */
#include "core/image/records_priv.h"

struct loading {
	void ***v;
	unsigned *n;
};

static int keep(void *arg, ProtobufCMessage *m, struct crcore_error *err)
{
	struct loading *l = arg;

	if (!GROW(*l->v, *l->n)) {
		protobuf_c_message_free_unpacked(m, NULL);
		return crcore_no_memory(err);
	}
	(*l->v)[(*l->n)++] = m;
	return 0;
}

static int load(struct image *img, const char *section, const ProtobufCMessageDescriptor *type,
                void *v, unsigned *n, struct crcore_error *err)
{
	struct loading l = { v, n };

	return image_each_message(img, "core", section, type, keep, &l, err);
}

int core_records_load(struct image *img, struct core_records *ret, struct crcore_error *err)
{
	struct core_records c = { 0 };
	int r = load(img, "task", &crcore__task__descriptor, &c.tasks, &c.ntasks, err);

	if (r == 0)
		r = load(img, "mm", &crcore__mm__descriptor, &c.mms, &c.nmms, err);
	if (r == 0)
		r = load(img, "files", &crcore__files__descriptor, &c.files, &c.nfiles, err);
	if (r == 0)
		r = load(img, "fs", &crcore__fs__descriptor, &c.fs, &c.nfs, err);
	if (r == 0)
		r = load(img, "sighand", &crcore__sighand__descriptor, &c.sighands, &c.nsighands, err);
	if (r == 0)
		r = load(img, "object", &crcore__object__descriptor, &c.objects, &c.nobjects, err);
	if (r == 0)
		r = load(img, "segment", &crcore__segment__descriptor, &c.segments, &c.nsegments, err);
	if (r == 0)
		r = image_validate_core(image_manifest(img), &c, err);
	if (r < 0)
		core_records_free(&c);
	else
		*ret = c;
	return r;
}

static void free_array(void *v, unsigned n)
{
	ProtobufCMessage **m = v;

	for (unsigned i = 0; i < n; i++)
		protobuf_c_message_free_unpacked(m[i], NULL);
	free(m);
}

void core_index_free(struct core_index *x)
{
	for (unsigned i = 0; x && i < NSORTS; i++)
		free(x->v[i]);
	free(x);
}

void core_records_free(struct core_records *c)
{
	free_array(c->tasks, c->ntasks);
	free_array(c->mms, c->nmms);
	free_array(c->files, c->nfiles);
	free_array(c->fs, c->nfs);
	free_array(c->sighands, c->nsighands);
	free_array(c->objects, c->nobjects);
	free_array(c->segments, c->nsegments);
	core_index_free(c->index);
	memset(c, 0, sizeof(*c));
}

/* ---- the index: per sort of record, ids in ascending order ---- */

static int by_id(const void *a, const void *b)
{
	const struct index_entry *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* The id is the first field of every one of these messages (pid for a task). */
static uint32_t id_of(const ProtobufCMessage *m)
{
	const ProtobufCFieldDescriptor *f = &m->descriptor->fields[0];

	return *(const uint32_t *)((const char *)m + f->offset);
}

int core_index_add(struct core_index *x, enum record_sort sort, void *records, unsigned n,
                   struct crcore_error *err)
{
	ProtobufCMessage **m = records;
	struct index_entry *v = malloc((n + 1) * sizeof(*v));

	if (!v)
		return crcore_no_memory(err);
	x->v[sort] = v;
	x->n[sort] = n;
	for (unsigned i = 0; i < n; i++)
		v[i] = (struct index_entry){ id_of(m[i]), i, m[i] };
	qsort(v, n, sizeof(*v), by_id);
	for (unsigned i = 0; i < n; i++)
		if (!v[i].id || (i && v[i].id == v[i - 1].id))
			return crcore_fail(err, -EBADMSG, v[i].id ? "%s %u is there twice" :
			                   "a %s has the number %u", m[i]->descriptor->short_name,
			                   v[i].id);
	return 0;
}

const struct index_entry *core_index_find(const struct core_index *x, enum record_sort sort,
                                          uint32_t id)
{
	struct index_entry key = { .id = id };

	return x ? bsearch(&key, x->v[sort], x->n[sort], sizeof(key), by_id) : NULL;
}

static void *find(const struct core_records *c, enum record_sort sort, uint32_t id)
{
	const struct index_entry *e = core_index_find(c->index, sort, id);

	return e ? e->record : NULL;
}

unsigned core_task_index(const struct core_records *c, uint32_t pid)
{
	const struct index_entry *e = core_index_find(c->index, SORT_TASK, pid);

	return e ? e->pos : c->ntasks;
}

unsigned core_mm_index(const struct core_records *c, uint32_t id)
{
	const struct index_entry *e = core_index_find(c->index, SORT_MM, id);

	return e ? e->pos : c->nmms;
}

Crcore__Mm *core_mm(const struct core_records *c, uint32_t id)
{
	return find(c, SORT_MM, id);
}

Crcore__Files *core_files(const struct core_records *c, uint32_t id)
{
	return find(c, SORT_FILES, id);
}

Crcore__Fs *core_fs(const struct core_records *c, uint32_t id)
{
	return find(c, SORT_FS, id);
}

Crcore__Sighand *core_sighand(const struct core_records *c, uint32_t id)
{
	return find(c, SORT_SIGHAND, id);
}

Crcore__Object *core_object(const struct core_records *c, uint32_t id)
{
	return find(c, SORT_OBJECT, id);
}

Crcore__Segment *core_segment(const struct core_records *c, uint32_t id)
{
	return find(c, SORT_SEGMENT, id);
}
