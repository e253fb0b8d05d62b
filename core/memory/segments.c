/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared anonymous memory: mappings of one segment, in whatever task and at
 * whatever address, are known by device and inode number (struct segment_use). A
 * segment is read through the map_files link of one of them: holes stay holes.
 */
#include <fcntl.h>
#include "core/memory/save_priv.h"

struct use { uint64_t dev, ino; struct mm *mm; Crcore__Vma *vma; };
struct uses { struct use *v; size_t n; };

static int find_uses(struct mm *mm, struct uses *uses, struct crcore_error *err)
{
	for (unsigned i = 0; i < mm->nuses; i++) {
		const struct segment_use *u = &mm->uses[i];
		if (!GROW(uses->v, uses->n))
			return crcore_no_memory(err);
		uses->v[uses->n++] = (struct use){ u->dev, u->ino, mm, mm->rec->vmas[u->vma] };
	}
	return 0;
}

static int by_inode(const void *a, const void *b)
{
	const struct use *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->dev < y->dev ? -1 : x->dev > y->dev;
}

static int queue_contents(struct source *src, int fd, uint64_t size, struct store *store,
                          struct crcore_error *err)
{
	off_t at = 0, end = (off_t)size;
	int r = 0;

	while (r == 0 && at < end) {
		off_t data = lseek(fd, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (data < 0 || hole < 0) { /* cannot tell: all of it */
			data = at;
			hole = end;
		}
		data &= ~(off_t)(PAGE - 1);
		hole = ALIGN_UP(hole, (off_t)PAGE);
		r = store_add(store, src, (uint64_t)data, (uint64_t)(hole - data) / PAGE, false,
		              false, err);
		at = hole;
	}
	return r;
}

static int add_segment(struct segments *s, unsigned i, const struct use *u, struct store *store,
                       struct crcore_error *err)
{
	struct source *src = &s->sources[i];
	Crcore__Segment *seg = s->v[i];
	struct stat st;

	seg->huge_shift = u->vma->huge_shift;
	seg->hugetlb = seg->huge_shift;
	*src = (struct source){ .task = u->mm->task, .runs = &s->runs[i] };
	snprintf(src->map_file, sizeof(src->map_file), "map_files/%llx-%llx",
	         (unsigned long long)u->vma->start, (unsigned long long)u->vma->end);
	cleanup_close int fd = openat(src->task->proc, src->map_file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int e = errno;
		crcore_fail_at(err, src->task->abi.pid, -1, "shared memory at %llx",
		               (unsigned long long)u->vma->start);
		return crcore_fail(err, -e, "cannot be opened: %s", strerror(e));
	}
	seg->size = (uint64_t)st.st_size;
	return queue_contents(src, fd, seg->size, store, err);
}

static bool next_segment(struct segments *s)
{
	Crcore__Segment *seg = malloc(sizeof(*seg));

	if (!seg)
		return false;
	crcore__segment__init(seg);
	s->v[s->n++] = seg;
	seg->id = s->n;
	return true;
}

static bool make_room(struct segments *s, struct uses *uses, unsigned ncontents)
{
	size_t n = ncontents;

	qsort(uses->v, uses->n, sizeof(*uses->v), by_inode);
	for (size_t i = 0; i < uses->n; i++)
		n += i == 0 || by_inode(&uses->v[i - 1], &uses->v[i]);
	s->v = calloc(n, sizeof(*s->v));
	s->sources = calloc(n, sizeof(*s->sources));
	s->runs = calloc(n, sizeof(*s->runs));
	return s->v && s->sources && s->runs;
}

static int make_segments(struct segments *s, struct uses *uses, struct store *store,
                         struct crcore_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < uses->n; i++) {
		if (i == 0 || by_inode(&uses->v[i - 1], &uses->v[i])) {
			if (!next_segment(s))
				return crcore_no_memory(err);
			r = add_segment(s, s->n - 1, &uses->v[i], store, err);
		}
		uses->v[i].vma->object = s->n;
	}
	return r;
}

static int add_contents(struct segments *s, const struct contents *c, struct store *store,
                        struct crcore_error *err)
{
	struct stat st;

	if (fstat(c->fd, &st) < 0)
		return crcore_fail(err, -errno, "cannot look at contents: %s", strerror(errno));
	if (st.st_size <= 0)
		return 0;
	if (!next_segment(s))
		return crcore_no_memory(err);
	Crcore__Segment *seg = s->v[s->n - 1];
	struct source *src = &s->sources[s->n - 1];
	*src = (struct source){ .runs = &s->runs[s->n - 1], .fd = c->fd };
	seg->size = ALIGN_UP((uint64_t)st.st_size, PAGE);
	seg->key = c->key;
	seg->plugin = strdup(c->plugin);
	return seg->plugin ? queue_contents(src, c->fd, seg->size, store, err) : crcore_no_memory(err);
}

int segments_find(struct tree *t, const struct contents *contents, unsigned ncontents,
                  struct segments *s, struct store *store, struct crcore_error *err)
{
	struct uses uses = { 0 };
	int r = 0;

	for (unsigned i = 0; r == 0 && i < t->nmms; i++)
		r = find_uses(t->mms[i], &uses, err);
	if (r == 0 && uses.n + ncontents)
		r = make_room(s, &uses, ncontents) ? make_segments(s, &uses, store, err) :
		                                     crcore_no_memory(err);
	for (unsigned i = 0; r == 0 && i < ncontents; i++)
		r = add_contents(s, &contents[i], store, err);
	free(uses.v);
	return r;
}

void segments_free(struct segments *s)
{
	for (unsigned i = 0; s->v && i < s->n; i++)
		crcore__segment__free_unpacked(s->v[i], NULL);
	for (unsigned i = 0; s->runs && i < s->n; i++) {
		for (size_t k = 0; s->runs[i].v && k < s->runs[i].n; k++)
			free(s->runs[i].v[k]);
		free(s->runs[i].v);
	}
	free(s->v);
	free(s->sources);
	free(s->runs);
}
