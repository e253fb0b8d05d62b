/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "events": options, claim, records of a dump. See events.h, events.md. */
#include "events.h"

#include "plugins/bpf/peek.h"

#include <linux/capability.h>

/* Pidfds before epoll, which may watch them. */
const struct kind *const event_kinds[] = {
	&kind_eventfd, &kind_timerfd, &kind_signalfd, &kind_pidfd, &kind_epoll, &kind_inotify,
	&kind_fanotify, &kind_userfaultfd, NULL,
};

static int events_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                       struct crcore_error *err)
{
	struct events *e = calloc(1, sizeof(*e));

	if (!e)
		return crcore_no_memory(err);
	e->host = host;
	e->ctx = ctx;
	e->queued = (enum queued)host->option(ctx, "queued")->i;
	*ret_state = e;
	return 0;
}

static void events_close(void *state)
{
	struct events *e = state;

	for (unsigned i = 0; i < e->nmade; i++)
		events__event__free_unpacked(e->made[i].rec, NULL);
	free(e->made);
	free(e->tables);
	mounts_forget(e);
	peek_close(e->peek);
	free(e);
}

static const struct kind *kind_of(const struct crcore_object *obj)
{
	static const char prefix[] = "anon_inode:";

	if (obj->class_ != CRCORE_DESCRIPTION || strncmp(obj->link, prefix, sizeof(prefix) - 1) != 0)
		return NULL;
	for (unsigned i = 0; event_kinds[i]; i++)
		if (!strcmp(obj->link + sizeof(prefix) - 1, event_kinds[i]->name))
			return event_kinds[i];
	return NULL;
}

static int events_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	const struct kind *kind = kind_of(obj);
	int r = 0;

	if (!kind)
		return CRCORE_CLAIM_NONE;
	if (kind->claim)
		r = kind->claim(state, obj, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", kind->title);
	return r < 0 ? r : CRCORE_CLAIM_EXACT;
}

static int events_review(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	const struct kind *kind = kind_of(obj);
	struct events *e = state;
	int r = 0;

	if (obj == e->host->object(e->ctx, 0)) { /* another look at the tree */
		free(e->tables);
		e->tables = NULL;
		e->ntables = 0;
		mounts_forget(e);
	}
	if (kind && kind->review)
		r = kind->review(e, obj, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", kind->title);
	return r;
}

static int events_save_object(void *state, const struct crcore_object *obj,
                              struct crcore_error *err)
{
	struct events *e = state;
	const struct kind *kind = kind_of(obj);
	Events__Event *rec = malloc(sizeof(*rec));
	int r;

	if (!kind || !kind->save || !rec) {
		free(rec);
		return crcore_no_memory(err);
	}
	events__event__init(rec);
	rec->id = obj->id;
	rec->flags = obj->flags & ~(uint32_t)O_CLOEXEC;
	r = kind->save(state, obj, rec, err);
	if (!r)
		r = record_put(e->host, e->ctx, "event", &rec->base, err);
	events__event__free_unpacked(rec, NULL);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", kind->title);
	return r;
}

static const char *const queued_choices[] = { "refuse", "overflow", "drop", NULL };

static const struct crcore_option options[] = {
	{ .name = "queued", .type = CRCORE_CHOICE, .default_value = "refuse", .choices = queued_choices,
	  .help = "events of inotify and fanotify that the program has not read yet, which cannot be "
	          "saved: refuse, tell the program at the restore that events were lost (overflow, "
	          "inotify), or drop them silently" },
	{ .name = NULL },
};

static const struct crcore_field event_fields[] = {
	{ 10003, CRCORE_PATH, "path" }, { 13005, CRCORE_PATH, "path" },
	{ 0 },
};
static const struct crcore_section sections[] = {
	{ .name = "event", .version = 1, .fields = event_fields },
	{ .name = NULL },
};

static const char *const after_others[] = { "?files", "?tmpfiles", "?ttys", NULL };
static const struct crcore_order order[] = {
	{ .stage = "emit", .after = after_others },   /* what epoll watches is in its place */
	{ .stage = "settle", .after = after_others }, /* watches see nothing of the restore */
	{ NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_DAC_READ_SEARCH, "to find the files that are watched" },
	{ CAP_WAKE_ALARM, "to make timers that wake the machine" },
	{ CAP_CHECKPOINT_RESTORE, "to compare what epoll watches" },
	{ 0, NULL },
};

CRCORE_ONLY_FOR(0, "anon_inode:");

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "events",
	.version = "1",
	.summary = "eventfd, timerfd, signalfd, epoll, pidfd, inotify and fanotify",
	.options = options,
	.sections = sections,
	.order = order,
	.needs = needs,
	.claims = "eventfd, timerfd, signalfd, epoll, pidfd, inotify, fanotify (exact); refuses "
	          "userfaultfd",
	.open = events_open,
	.close = events_close,
	.claim = events_claim,
	.review = events_review,
	.save_object = events_save_object,
	.load_record = events_load_record,
	.check = events_check,
	.create = events_create,
	.emit = events_emit,
	.settle = events_settle,
};
