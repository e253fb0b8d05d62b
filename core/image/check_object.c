/* SPDX-License-Identifier: Apache-2.0 */
/* The check of objects, of the tables that tasks share, and of what memory refers to. */
#include <fcntl.h>
#include <sys/mman.h>
#include "core/image/image_priv.h"
#include "core/image/records_priv.h"

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif
#define ACTIONS 64u
#define SIGNALS 64u
#define ACTION_SIZE 32u        /* struct sigaction of the kernel: handler, flags, restorer, mask */
#define FD_LIMIT 0x7fffff00u   /* fs.nr_open can be no larger */
#define AUXV_MAX 4096u
#define THP_DISABLE_MAX 3u     /* PR_GET_THP_DISABLE: 1, and PR_THP_DISABLE_EXCEPT_ADVISED */
#define MDWE_MAX 3u            /* PR_MDWE_REFUSE_EXEC_GAIN, PR_MDWE_NO_INHERIT */

static bool is(const Crcore__Object *o, enum crcore_class class_)
{
	return o && o->class_ == class_;
}

static bool in_manifest(const Crcore__Manifest *m, const char *plugin)
{
	for (size_t i = 0; i < m->n_plugins; i++)
		if (!strcmp(m->plugins[i]->name, plugin))
			return true;
	return false;
}

int check_objects(const Crcore__Manifest *m, const struct core_records *c, struct crcore_error *err)
{
	for (unsigned i = 0; i < c->nobjects; i++) {
		const Crcore__Object *o = c->objects[i];
		bool file = o->class_ == CRCORE_FILE;
		if (!file && o->class_ != CRCORE_DESCRIPTION)
			return BAD(err, "object %u is of an unknown class", o->id);
		if (file ? !o->use || o->use > CRCORE_USE_ROOT : o->use)
			return BAD(err, "object %u has an unknown use", o->id);
		if (o->owner && (file || o->owner->type > F_OWNER_PGRP || o->owner->pid > INT32_MAX ||
		                 o->owner->signal > SIGNALS))
			return BAD(err, "object %u has an impossible owner", o->id);
		if (!in_manifest(m, o->plugin))
			return BAD(err, "object %u belongs to a plugin that the manifest does not name",
			           o->id);
	}
	return 0;
}

static int check_fds(const struct core_records *c, const Crcore__Files *f, struct crcore_error *err)
{
	for (size_t i = 0; i < f->n_fds; i++) {
		const Crcore__Fd *d = f->fds[i];
		if (d->fd > FD_LIMIT || (i && d->fd <= f->fds[i - 1]->fd))
			return BAD(err, "descriptor table %u is not in order", f->id);
		if (!is(core_object(c, d->object), CRCORE_DESCRIPTION))
			return BAD(err, "descriptor %u of table %u refers to object %u, which is none",
			           d->fd, f->id, d->object);
	}
	return 0;
}

static int check_actions(const Crcore__Sighand *s, struct crcore_error *err)
{
	if (s->n_actions != ACTIONS)
		return BAD(err, "signal handlers %u are not %u", s->id, ACTIONS);
	for (size_t i = 0; i < s->n_actions; i++)
		if (s->actions[i].len != ACTION_SIZE)
			return BAD(err, "signal handlers %u have the wrong size", s->id);
	return 0;
}

int check_tables(const struct core_records *c, struct crcore_error *err)
{
	int r = 0;

	for (unsigned i = 0; i < c->nfiles && r == 0; i++)
		r = check_fds(c, c->files[i], err);
	for (unsigned i = 0; i < c->nsighands && r == 0; i++)
		r = check_actions(c->sighands[i], err);
	for (unsigned i = 0; i < c->nfs && r == 0; i++) {
		const Crcore__Fs *f = c->fs[i];
		if (!is(core_object(c, f->cwd), CRCORE_FILE) ||
		    (f->root && !is(core_object(c, f->root), CRCORE_FILE)) || f->umask > 0777)
			r = BAD(err, "file system state %u refers to what is not there", f->id);
	}
	return r;
}

/* Contents that a plugin keeps are nothing that could be mapped. */
static bool is_anonymous(const Crcore__Segment *s)
{
	return s && !s->plugin[0];
}

static int check_mm(const struct core_records *c, const Crcore__Mm *m, struct crcore_error *err)
{
	if (!is(core_object(c, m->exe), CRCORE_FILE))
		return BAD(err, "memory %u runs object %u, which is no file", m->id, m->exe);
	if (m->auxv.len > AUXV_MAX || m->auxv.len % 16 || m->dumpable > 2 ||
	    m->thp_disable > THP_DISABLE_MAX || m->mdwe > MDWE_MAX ||
	    m->mlock_future & ~(uint32_t)(MCL_FUTURE | MCL_ONFAULT))
		return BAD(err, "memory %u has a value that is out of range", m->id);
	for (size_t i = 0; i < m->n_vmas; i++) {
		const Crcore__Vma *v = m->vmas[i];
		if ((v->backing == CRCORE__BACKING__FILE && !is(core_object(c, v->object), CRCORE_FILE)) ||
		    (v->backing == CRCORE__BACKING__SEGMENT && !is_anonymous(core_segment(c, v->object))))
			return BAD(err, "memory %u maps object %u at %llx, which is none", m->id,
			           v->object, (unsigned long long)v->start);
	}
	return 0;
}

/* Runs of a segment: ascending addresses from 0, within its size and the pages file. */
static int check_segment(const Crcore__Segment *s, uint64_t pages, struct crcore_error *err)
{
	uint64_t at = 0;

	if (!s->size || s->size > INT64_MAX || s->size % PAGE || s->huge_shift > 40)
		return BAD(err, "segment %u has an impossible size", s->id);
	for (size_t i = 0; i < s->n_runs; i++) {
		const Crcore__Run *r = s->runs[i];
		if (r->addr < at || r->addr % PAGE || r->addr > s->size || !r->pages ||
		    r->pages > (s->size - r->addr) / PAGE)
			return BAD(err, "segment %u has a run out of order or past its end", s->id);
		if (r->source != CRCORE__SOURCE__ZERO && r->source != CRCORE__SOURCE__PAGES)
			return BAD(err, "segment %u has a run from nowhere", s->id);
		if (r->source == CRCORE__SOURCE__PAGES && (r->offset % PAGE || r->offset > pages ||
		    r->pages > (pages - r->offset) / PAGE))
			return BAD(err, "segment %u has a run past the end of the pages", s->id);
		at = r->addr + r->pages * PAGE;
	}
	return 0;
}

int check_memory(const Crcore__Manifest *m, const struct core_records *c, struct crcore_error *err)
{
	uint64_t pages = image_pages_before(m);
	int r = 0;

	for (size_t i = 0; i < m->n_files; i++)
		if (image_page_number(m->files[i]->name))
			pages += m->files[i]->unpacked ? m->files[i]->unpacked : m->files[i]->length;
	for (unsigned i = 0; i < c->nmms && r == 0; i++)
		r = check_mm(c, c->mms[i], err);
	for (unsigned i = 0; i < c->nsegments && r == 0; i++)
		r = check_segment(c->segments[i], pages, err);
	return r;
}
