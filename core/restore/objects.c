/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The objects of plugins: each is made by its plugin, after those it needs, as
 * a descriptor of the coordinator, from where tasks fetch it.
 */
#include "core/restore/restore.h"

enum { OBJECT_NEW, OBJECT_BUSY, OBJECT_MADE };
#define NEEDS_MAX 64
#define DEEP_MAX 256 /* an object that needs one that needs one ...: each takes of our stack */

static int by_object_id(const void *a, const void *b)
{
	const struct object_fd *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

struct object_fd *object_find(const struct restore *r, uint32_t id)
{
	struct object_fd key = { .id = id };

	if (!r->nobjects)
		return NULL;
	return bsearch(&key, r->objects, r->nobjects, sizeof(key), by_object_id);
}

static void name_object(const struct object_fd *o, struct crcore_error *err)
{
	crcore_fail_at(err, -1, -1, "%s", o->rec->label && o->rec->label[0] ? o->rec->label
	                                                                    : "an object");
	if (err && !err->plugin[0])
		snprintf(err->plugin, sizeof(err->plugin), "%.39s", o->rec->plugin);
}

/* Finds the plugin of every object. */
int objects_load(struct restore *r, struct crcore_error *err)
{
	r->nobjects = r->rec.nobjects;
	r->objects = calloc(r->nobjects ? r->nobjects : 1, sizeof(*r->objects));
	if (!r->objects)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < r->nobjects; i++) {
		Crcore__Object *rec = r->rec.objects[i];
		r->objects[i] = (struct object_fd){ .id = rec->id, .fd = -1, .rec = rec,
			                            .owner = host_find(r->host, rec->plugin) };
		if (!r->objects[i].owner || !r->objects[i].owner->p.create) {
			name_object(&r->objects[i], err);
			crcore_advise(err, "load it: --plugins=+%.40s", rec->plugin);
			return crcore_fail(err, -ENOENT, "no plugin \"%.40s\" that could make it is loaded",
			                   rec->plugin);
		}
	}
	qsort(r->objects, r->nobjects, sizeof(*r->objects), by_object_id);
	return 0;
}

/* ---- making them ------------------------------------------------------------------------ */

struct plan_call { uint32_t id, needs[NEEDS_MAX]; int n; };

static int call_plan(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	struct plan_call *c = arg;

	return ctx->p.plan(ctx->state, c->id, c->needs, NEEDS_MAX, err);
}

static int call_create(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	return ctx->p.create(ctx->state, *(uint32_t *)arg, err);
}

static int make(struct restore *r, struct object_fd *o, struct crcore_error *err);

static int make_needs(struct restore *r, struct object_fd *o, struct crcore_error *err)
{
	struct plan_call c = { .id = o->id };

	if (!o->owner->p.plan)
		return 0;
	int n = host_call(o->owner, STAGE_PLAN, call_plan, &c, err);
	if (n > NEEDS_MAX)
		return crcore_fail(err, -E2BIG, "needs %d other objects, more than %d", n, NEEDS_MAX);
	for (int i = 0; i < n; i++) {
		struct object_fd *need = object_find(r, c.needs[i]);
		if (!need)
			return crcore_fail(err, -EBADMSG, "needs object %u, which is not in the image",
			                   c.needs[i]);
		int ret = make(r, need, err);
		if (ret < 0)
			return ret;
	}
	return n < 0 ? n : 0;
}

static int make(struct restore *r, struct object_fd *o, struct crcore_error *err)
{
	if (o->state == OBJECT_MADE)
		return o->bank ? banks_withdraw(r, o, err) : o->fd;
	if (o->state == OBJECT_BUSY) {
		name_object(o, err);
		return crcore_fail(err, -ELOOP, "needs itself, by way of what it needs");
	}
	if (r->making == DEEP_MAX) {
		name_object(o, err);
		return crcore_fail(err, -ELOOP, "is needed by %u others, one after the other", DEEP_MAX);
	}
	o->state = OBJECT_BUSY;
	r->making++;
	int ret = make_needs(r, o, err);
	if (ret == 0)
		ret = host_call(o->owner, STAGE_CREATE, call_create, &o->id, err);
	r->making--;
	if (ret < 0) {
		name_object(o, err);
		return ret;
	}
	log_line(3, "made object %u (%s: %s) as %d", o->id, o->rec->plugin, o->rec->label, ret);
	o->fd = ret;
	o->state = OBJECT_MADE;
	return ret;
}

int objects_create(struct restore *r, struct crcore_error *err)
{
	unsigned n;
	struct crcore_ctx *const *order = host_order(r->host, STAGE_CREATE, &n);
	int ret = host_series_start(r->host, err), most = banks_threshold();

	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < n && ret >= 0; i++)
		for (unsigned k = 0; k < r->nobjects && ret >= 0; k++) {
			if (r->objects[k].owner != order[i])
				continue;
			if (r->objects[k].state == OBJECT_MADE)
				continue;
			ret = make(r, &r->objects[k], err);
			if (ret >= most)
				ret = banks_deposit(r, err);
			if (ret >= 0 && (k & 63) == 0)
				ret = worker_check(err);
		}
	host_series_stop(r->host);
	return ret < 0 ? ret : 0;
}

/* During create: makes it if need be. */
int object_need(struct restore *r, uint32_t id, struct crcore_error *err)
{
	struct object_fd *o = object_find(r, id);

	return o ? make(r, o, err) : crcore_fail(err, -ENOENT, "there is no object %u", id);
}

int object_fd(struct restore *r, uint32_t id, struct crcore_error *err)
{
	struct object_fd *o = object_find(r, id);

	if (r->only_plan)
		return -1;
	if (!o || o->state != OBJECT_MADE)
		return crcore_fail(err, -ENOENT, "object %u was not made", id);
	return fd_in(o->bank, o->fd);
}

bool object_is_made(const struct object_fd *o)
{
	return o->state == OBJECT_MADE && o->fd >= 0;
}

struct map_call {
	uint32_t id, n;
	const struct crcore_mapping *const *v;
	uint64_t scratch, scratch_len;
	prog *p;
};

static int call_map(struct crcore_ctx *ctx, void *arg, struct crcore_error *err)
{
	struct map_call *c = arg;

	return ctx->p.map(ctx->state, c->id, c->v, c->n, c->scratch, c->scratch_len, c->p, err);
}

bool object_maps(struct restore *r, uint32_t id)
{
	const struct object_fd *o = object_find(r, id);

	return o && o->owner->p.map && o->rec->use == CRCORE_USE_MAPPING;
}

int object_map(struct restore *r, uint32_t id, const struct crcore_mapping *const *v, uint32_t n,
               prog *p, struct crcore_error *err)
{
	const struct object_fd *o = object_find(r, id);
	struct map_call c = { .id = id, .v = v, .n = n, .p = p };

	c.scratch = ALIGN_UP(r->layouts.scratch, 1ULL << 30);
	if (c.scratch < r->layouts.scratch_end)
		c.scratch_len = r->layouts.scratch_end - c.scratch;
	int ret = host_call(o->owner, STAGE_EMIT, call_map, &c, err);
	if (ret < 0)
		name_object(o, err);
	return ret;
}

void objects_close(struct restore *r)
{
	for (unsigned i = 0; r->objects && i < r->nobjects; i++)
		if (r->objects[i].fd >= 0 && !r->objects[i].bank)
			close(STEAL_FD(r->objects[i].fd));
	banks_close(r);
	for (unsigned i = 0; r->segments && i < r->rec.nsegments; i++)
		if (r->segments[i].fd >= 0)
			close(STEAL_FD(r->segments[i].fd));
}
