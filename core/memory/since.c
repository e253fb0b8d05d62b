/* SPDX-License-Identifier: Apache-2.0 */
/* See since.h. */
#include "core/image/core_records.h"
#include "core/image/pages.h"
#include "core/memory/older.h"
#include "core/memory/save_priv.h"
#include "core/memory/since.h"
#include "core/memory/tracker.h"

static pid_t first_task(const struct core_records *rec, uint32_t mm)
{
	for (unsigned i = 0; i < rec->ntasks; i++)
		if (rec->tasks[i]->mm == mm)
			return (pid_t)rec->tasks[i]->pid;
	return 0;
}

static int take_records(struct since *s, const struct core_records *rec, struct crcore_error *err)
{
	uint64_t room = ranges_most();
	int r = (s->v = calloc(rec->nmms + 1, sizeof(*s->v))) ? 0 : crcore_no_memory(err);

	for (unsigned i = 0; r == 0 && i < rec->nmms; i++) {
		struct since_mm *m = &s->v[s->n++];
		const uint32_t id = rec->mms[i]->id;
		*m = (struct since_mm){ .id = id, .pid = first_task(rec, id), .uffd = -1 };
		r = mm_validate(rec->mms[i], rec->mms, i, s->pages, &room, err);
		if (r == 0)
			r = older_covered(rec->mms[i], &m->saved, err);
	}
	return r;
}

int since_open(struct image *image, struct since **ret, struct crcore_error *err)
{
	const Crcore__Manifest *m = image_manifest(image);
	struct since *s = calloc(1, sizeof(*s));
	struct core_records rec = { 0 };
	struct pages *pages = NULL;
	time_t now = time(NULL);
	int r = s ? pages_open(image, &pages, err) : crcore_no_memory(err);

	if (r == 0) {
		s->age_ns = (uint64_t)now > m->created ? ((uint64_t)now - m->created) * 1000000000u : 0;
		s->pages = pages_length(pages);
		pages_close(pages);
		r = core_records_load(image, &rec, err);
	}
	if (r == 0)
		r = take_records(s, &rec, err);
	core_records_free(&rec);
	if (r == 0 && m->tracking) {
		s->tracking = *m->tracking;
		s->tracking.secret.data = malloc(TRACKING_SECRET);
		if (s->tracking.secret.data)
			memcpy(s->tracking.secret.data, m->tracking->secret.data, TRACKING_SECRET);
		else
			r = crcore_no_memory(err);
	}
	if (r < 0)
		since_free(s);
	else
		*ret = s;
	return r;
}

uint64_t since_length(const struct since *s)
{
	return s->pages;
}

int since_take(struct since *s, struct crcore_error *err)
{
	cleanup_free struct tracked *v = NULL;
	unsigned n = 0;
	int r = s->tracking.pid ? tracker_take(&s->tracking, &v, &n, err) :
	        crcore_fail(err, -ESRCH, "the image before was made without --track-mem");

	for (unsigned i = 0, k; r == 0 && i < n; i++) {
		for (k = 0; k < s->n && (s->v[k].pid != v[i].pid || s->v[k].uffd >= 0); k++)
			;
		if (k == s->n) {
			close(v[i].uffd);
			continue;
		}
		s->v[k].uffd = v[i].uffd;
		s->v[k].start_time = v[i].start_time;
	}
	return r;
}

struct since_mm *since_find(struct since *s, const struct task *t)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct proc_stat st;

	for (unsigned i = 0; s && i < s->n; i++)
		if (s->v[i].pid == t->abi.pid && s->v[i].uffd >= 0)
			return proc_stat(t->proc, &st, &ignored) == 0 &&
			       st.start_time == s->v[i].start_time ? &s->v[i] : NULL;
	return NULL;
}

void since_close(struct since *s)
{
	for (unsigned i = 0; s && i < s->n; i++)
		if (s->v[i].uffd >= 0)
			close(STEAL_FD(s->v[i].uffd));
}

void since_free(struct since *s)
{
	if (!s)
		return;
	since_close(s);
	for (unsigned i = 0; i < s->n; i++)
		spans_free(&s->v[i].saved);
	free(s->v);
	free(s->tracking.secret.data);
	free(s);
}
