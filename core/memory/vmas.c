/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes records of the mappings of a task.
 *
 * Their text writes a newline in a path as \012 but leaves backslashes alone,
 * so a path with a backslash is taken from its map_files link instead.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include "core/memory/known.h"
#include "core/memory/save_priv.h"
#include "core/memory/vmas.h"

enum { TRIES = 3 };

struct reader {
	struct mm *mm;
	int (*fn)(void *, struct mm *, const struct mapped_file *, struct crcore_error *);
	void *arg;
	const struct vmas_how *how;
	struct pagemap pagemap; /* fd -1: not opened yet */
	struct spans watched;   /* what was watched when we looked again */
	bool looked;
	char link[PATH_MAX];
};

int vmas_shmem(uint64_t *ret, struct crcore_error *err)
{
	cleanup_close int fd = (int)memfd_create("shmem", MFD_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return crcore_fail(err, -errno, "cannot make a memory file: %s", strerror(errno));
	*ret = st.st_dev;
	return 0;
}

/* The exact text of the link; what smaps wrote if it cannot be read (a path
 * longer than a page, a mapping that is gone meanwhile). */
static const char *exact_path(struct reader *rd, const struct vma_text *v, const char *map_file)
{
	if (!v->path_len || memchr(v->path, '\\', v->path_len)) {
		ssize_t n = readlinkat(rd->mm->task->proc, map_file, rd->link, sizeof(rd->link) - 1);
		if (n > 0) {
			rd->link[n] = '\0';
			return rd->link;
		}
	}
	return NULL;
}

static int offer_file(struct reader *rd, const struct vma_text *v, Crcore__Vma *rec,
                      struct crcore_error *err)
{
	struct mapped_file f = { .vma = rec, .dev = v->dev, .ino = v->ino };
	cleanup_free char *copy = NULL;

	snprintf(f.map_file, sizeof(f.map_file), "map_files/%llx-%llx", (unsigned long long)v->start,
	         (unsigned long long)v->end);
	f.link = exact_path(rd, v, f.map_file);
	if (!f.link) {
		f.link = copy = strndup(v->path, v->path_len);
		if (!copy)
			return crcore_no_memory(err);
	}
	int id = rd->fn(rd->arg, rd->mm, &f, err);
	if (id < 0) {
		crcore_fail_at(err, rd->mm->task->abi.pid, -1, "mapping %llx-%llx of %s",
		               (unsigned long long)v->start, (unsigned long long)v->end, f.link);
		return crcore_fail(err, id, "cannot be saved: %s", strerror(-id));
	}
	rec->object = (uint32_t)id;
	return 0;
}

/* Which are watched now, in a task that may run? false: nobody can say. */
static bool look_again(struct reader *rd)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct vma_list now = { 0 };
	const struct vmas_how how = { .flags = rd->how->flags };
	bool ok = vma_list_read(&now, rd->mm->task, &how, &ignored) == 0;

	rd->watched.n = 0;
	for (size_t i = 0; ok && i < now.n; i++)
		if (now.v[i].flags & VMF_WRITES)
			ok = spans_append(&rd->watched, (struct span){ now.v[i].start, now.v[i].end,
			                                               now.v[i].start, 0 });
	rd->looked = ok;
	vma_list_free(&now);
	return ok;
}

/*
 * Somebody outside tracks writes to a mapping: a tracker of ours, or another tool. Where it
 * only looks afterwards, the tree gets nothing from it and loses nothing without it (a tree
 * that has the descriptor itself is refused for that). Else it may serve faults.
 */
static bool only_looks(struct reader *rd, const struct vma_text *v)
{
	if (rd->pagemap.fd < 0)
		rd->pagemap.fd = openat(rd->mm->task->proc, "pagemap", O_RDONLY | O_CLOEXEC);
	for (int i = 0; rd->pagemap.fd >= 0 && i < TRIES; i++) {
		if (pages_tracked(&rd->pagemap, v->start, v->end))
			return true;
		/* or it is gone by now: the first look at that is for all mappings */
		if (!(rd->looked && i == 0) && !look_again(rd))
			return false;
		if (!spans_overlap(&rd->watched, v->start, v->end))
			return true;
	}
	return false;
}

/* Of the last mapping of its record. */
static int add_use(struct mm *mm, const struct vma_text *v, struct crcore_error *err)
{
	if (!GROW(mm->uses, mm->nuses))
		return crcore_no_memory(err);
	mm->uses[mm->nuses++] = (struct segment_use){ v->dev, v->ino, mm->rec->n_vmas - 1 };
	return 0;
}

static int add_policy(struct mm *mm, struct crcore_error *err)
{
	if (!GROW(mm->policies, mm->npolicies))
		return crcore_no_memory(err);
	mm->policies[mm->npolicies++] = (struct policy_question){ .vma = mm->rec->n_vmas - 1 };
	return 0;
}

static int add_vma(struct reader *rd, const struct vma_text *v, struct crcore_error *err)
{
	Crcore__Mm *rec = rd->mm->rec;

	if (!GROW(rec->vmas, rec->n_vmas))
		return crcore_no_memory(err);
	Crcore__Vma *vma = malloc(sizeof(*vma));
	if (!vma)
		return crcore_no_memory(err);
	crcore__vma__init(vma);
	rec->vmas[rec->n_vmas++] = vma;
	if ((v->flags & VMF_POLICY) && !vma_is_kernels(v) && add_policy(rd->mm, err) < 0)
		return err->code;

	int sort = vma_classify(v, rd->how->shmem_dev, vma, err);
	if (sort == VMA_FILE)
		return offer_file(rd, v, vma, err);
	return sort < 0 || vma->backing != CRCORE__BACKING__SEGMENT ? sort
	                                                            : add_use(rd->mm, v, err);
}

static void drop_vmas(struct mm *mm)
{
	Crcore__Mm *rec = mm->rec;

	mm->nuses = mm->npolicies = 0;
	free(STEAL(mm->uses));
	free(STEAL(mm->policies));
	for (size_t i = 0; i < rec->n_vmas; i++)
		crcore__vma__free_unpacked(rec->vmas[i], NULL);
	free(rec->vmas);
	rec->vmas = NULL;
	rec->n_vmas = 0;
}

struct vma_list *vmas_fetch(const struct mm *mm, const struct vmas_how *how)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct vma_list *l = calloc(1, sizeof(*l));

	if (l && vma_list_read(l, mm->task, how, &ignored) < 0)
		vmas_drop(STEAL(l));
	return l;
}

bool vmas_have_flags(const struct vma_list *l)
{
	return l && !l->no_flags;
}

void vmas_drop(struct vma_list *l)
{
	if (l)
		vma_list_free(l);
	free(l);
}

static int add_all(struct reader *rd, const struct vma_list *l, struct crcore_error *err)
{
	const struct known *known = rd->how->known;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < l->n; i++) {
		struct vma_text v = l->v[i];
		if (known && spans_overlap(&known->watched, v.start, v.end))
			v.flags &= ~(uint32_t)(VMF_UFFD | VMF_WRITES); /* that is us */
		if ((v.flags & VMF_WRITES) && !only_looks(rd, &v))
			v.flags |= VMF_UFFD;
		r = add_vma(rd, &v, err);
	}
	return r < 0 ? r : 0;
}

int vmas_read(struct mm *mm, const struct vmas_how *how, const struct vma_list *fetched,
              int (*fn)(void *, struct mm *, const struct mapped_file *, struct crcore_error *),
              void *arg, struct crcore_error *err)
{
	struct reader rd = { .mm = mm, .fn = fn, .arg = arg, .how = how, .pagemap.fd = -1 };
	struct vma_list own = { 0 };
	int r = fetched ? 0 : vma_list_read(&own, mm->task, how, err);

	drop_vmas(mm);
	if (r == 0)
		r = add_all(&rd, fetched ? fetched : &own, err);
	vma_list_free(&own);
	if (rd.pagemap.fd >= 0)
		close(rd.pagemap.fd);
	spans_free(&rd.watched);
	return r;
}
