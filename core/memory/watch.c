/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying ahead: the memory of a tree is saved in rounds while the tree runs, so
 * that only what was written to since has to be saved while it stands still.
 *
 * The kernel tells what was written to: userfaultfd in its asynchronous mode
 * write-protects pages and lifts that by itself at the first write; PAGEMAP_SCAN
 * looks and protects anew in one step. So a page that is protected is as it was
 * when we read it, whatever else became of the address space: memory that was
 * unmapped, mapped anew, moved or thrown away is not protected. Nothing of this
 * outlives us: the descriptor is ours alone.
 *
 * What a reader could break: mappings are put under watch whole, and only while
 * nothing can change them.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "core/memory/pagemap_scan.h"
#include "core/memory/since.h"
#include "core/memory/watch.h"
#include "core/util/trace.h"

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

struct watched *watch_find(const struct watch *w, pid_t pid)
{
	for (unsigned i = 0; w && i < w->n; i++)
		if (w->v[i].pid == pid)
			return w->v[i].uffd >= 0 ? &w->v[i] : NULL;
	return NULL;
}

bool watch_knew(const struct watch *w, pid_t pid)
{
	return tree_find(w->tree, pid) != NULL;
}

const struct known *watch_known(struct watch *w, pid_t pid)
{
	const struct watched *m = watch_find(w, pid);
	uint64_t entry;

	/* Of memory that is no more (it has called exec) nothing can be read. */
	return m && m->known.list.n && pread(m->pagemap.fd, &entry, sizeof(entry),
	       (off_t)(m->known.list.v[0].start / PAGE * sizeof(entry))) == (ssize_t)sizeof(entry) ?
	       &m->known : NULL;
}

bool watch_is_fit(const struct vma_text *v)
{
	static const char *const names[] = { "[heap]", "[stack", "[anon:" };

	if (v->shared || v->dev || v->ino)
		return false;
	for (unsigned i = 0; v->path_len && i < ARRAY_SIZE(names); i++)
		if (v->path_len >= strlen(names[i]) && !memcmp(v->path, names[i], strlen(names[i])))
			return true;
	return !v->path_len;
}

/* ---- begin and end ------------------------------------------------------------------ */

/* Makes a new descriptor what we need. What is refused here is just not watched. */
static bool set_up(int uffd)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED |
		            UFFD_FEATURE_WP_ASYNC,
	};

	return uffd >= 0 && ioctl(uffd, UFFDIO_API, &api) == 0;
}

/* For all that have none yet. */
static int borrow_all(struct watch *w, uint64_t timeout_ns, struct crcore_error *err)
{
	cleanup_free struct borrow *v = calloc(w->n + 1, sizeof(*v));
	unsigned n = 0;
	int r;

	if (!v)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < w->n; i++)
		if (w->v[i].uffd < 0)
			v[n++] = (struct borrow){
				.thread = w->v[i].mm->task->threads, .nr = SYS_userfaultfd,
				.args = { O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY } };
	if (n && (r = inject_borrow(v, n, timeout_ns, err)) < 0)
		return r;
	for (unsigned i = 0, k = 0; i < w->n; i++) {
		if (w->v[i].uffd >= 0)
			continue;
		if (set_up(v[k].fd))
			w->v[i].uffd = v[k].fd;
		else if (v[k].fd >= 0)
			close(v[k].fd);
		k++;
		if (w->v[i].uffd < 0)
			log_line(2, "pid %d: its memory cannot be watched", w->v[i].pid);
	}
	return 0;
}

static int open_one(struct watch *w, struct mm *mm, const struct unmarked *unmarked,
                    struct crcore_error *err)
{
	struct watched *m = &w->v[w->n++];
	struct proc_stat st;

	*m = (struct watched){ .mm = mm, .pid = mm->task->abi.pid, .uffd = -1 };
	m->source = (struct source){ .mm = m->mm, .pagemap = &m->pagemap, .runs = &m->runs,
		                     .gone = &m->gone };
	m->pagemap.pid = m->pid;
	m->pagemap.fd = openat(m->mm->task->proc, "pagemap", O_RDONLY | O_CLOEXEC);
	if (m->pagemap.fd < 0)
		return crcore_fail(err, -errno, "cannot open its page map: %s", strerror(errno));
	int r = proc_stat(mm->task->proc, &st, err);
	m->start_time = st.start_time;
	m->unmarked = r == 0 && watch_is_unmarked(unmarked, m->pid, st.start_time);
	return r;
}

/* Whose memory was watched since the image before, goes on from there. */
static int go_on(struct watch *w, struct since *since, struct crcore_error *err)
{
	unsigned n = 0;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < w->n; i++) {
		struct watched *m = &w->v[i];
		struct since_mm *s = since_find(since, m->mm->task);
		if (!s)
			continue;
		m->uffd = STEAL_FD(s->uffd);
		m->saved = s->saved;
		m->before = s->id;
		s->saved = (struct spans){ 0 };
		for (size_t k = 0; k < m->saved.n; k++)
			m->saved.v[k].tag = SAVED_BEFORE;
		r = watch_go_on(m, err);
		n++;
	}
	w->mixed = n && n < w->n;
	w->unsure = n;
	w->store.base = since ? since->pages : 0;
	if (n && since->age_ns)
		w->looked_ns = now_ns() - since->age_ns;
	since_close(since);
	return r;
}

/* A mapping can be watched by one only. */
static void tell_refused(const struct watch *w)
{
	for (unsigned i = 0; i < w->n; i++)
		if (w->v[i].uffd >= 0 && w->v[i].refused > spans_bytes(&w->v[i].known.watched))
			log_line(1, "pid %d: its memory is copied while it stands still, since its writes "
			         "are tracked for the image before already (see --prev-images-dir)",
			         w->v[i].pid);
}

int watch_begin(struct tree *tree, struct image *image, const struct watch_how *how,
                struct watch **ret, struct crcore_error *err)
{
	struct watch *w = calloc(1, sizeof(*w));
	int r = 0;

	if (!w || !(w->v = calloc(tree->nmms + 1, sizeof(*w->v)))) {
		free(w);
		return crcore_no_memory(err);
	}
	w->tree = tree;
	w->keep = how->keep;
	w->copies = how->rounds;
	w->flags = how->flags;
	w->store = (struct store){ .image = image, .live = true };
	for (unsigned i = 0; r == 0 && i < tree->nmms; i++)
		r = open_one(w, tree->mms[i], how->unmarked, err);
	if (r == 0 && (r = go_on(w, how->since, err)) == 0 && how->begin)
		r = borrow_all(w, how->timeout_ns, err);
	if (r == 0)
		r = watch_more(w, err);
	if (r < 0) {
		watch_end(w);
		return r;
	}
	tell_refused(w);
	*ret = w;
	return 0;
}

/* ---- what to watch -------------------------------------------------------------------- */

static bool watch_range(struct watched *m, uint64_t start, uint64_t end, struct spans *now)
{
	struct uffdio_register reg = {
		.range = { start, end - start }, .mode = m->mode,
	};

	return ioctl(m->uffd, UFFDIO_REGISTER, &reg) < 0 ||
	       spans_append(now, (struct span){ start, end, start, 0 });
}

/* Neighbours in one call: there may be 60,000. If one of them is refused, each by itself. */
static bool watch_neighbours(struct watched *m, const struct spans *v, size_t from, size_t to,
                             struct spans *now)
{
	size_t before = now->n;
	bool ok = watch_range(m, v->v[from].start, v->v[to - 1].end, now);

	if (now->n > before || (before && now->v[before - 1].end == v->v[to - 1].end))
		return ok;
	for (size_t i = from; ok && i < to; i++)
		ok = watch_range(m, v->v[i].start, v->v[i].end, now);
	return ok;
}

/* Whole mappings, which cannot change meanwhile: what is watched in part is cut in two. */
int watch_mappings(struct watched *m, struct crcore_error *err)
{
	cleanup_free char *text = NULL;
	struct spans fit = { 0 }, now = { 0 }, marked = { 0 };
	struct vma_text v;
	size_t len;
	int r = proc_read(m->mm->task->proc, "maps", &text, &len, err);
	const char *at = text;
	bool ok = true;

	if (r < 0)
		return r;
	while (ok && (r = vma_parse(&at, text + len, &v)) > 0)
		if (watch_is_fit(&v))
			ok = spans_push(&fit, (struct span){ v.start, v.end, v.start, 0 });
	for (size_t i = 0, k; ok && r == 0 && i < fit.n; i = k) {
		for (k = i + 1; k < fit.n && fit.v[k].start == fit.v[k - 1].end; k++)
			;
		if (m->mode == UFFDIO_REGISTER_MODE_WP && !m->unmarked)
			r = pages_marked(&m->pagemap, fit.v[i].start, fit.v[k - 1].end, &marked, err);
		ok = watch_neighbours(m, &fit, i, k, &now);
	}
	if (ok && r == 0)
		r = watch_lift_marks(m, &marked, &now, err);
	m->unmarked = false;
	m->refused = spans_bytes(&fit) - spans_bytes(&now);
	spans_free(&fit);
	spans_free(&marked);
	spans_free(&m->known.watched);
	m->known.watched = now;
	return ok ? r : crcore_no_memory(err);
}

/* One that ends, or that the kernel tells nothing of, is left for the end. */
void watch_give_up(struct watched *m, struct crcore_error *err)
{
	log_line(2, "pid %d: no longer watched: %s", m->pid, err->message);
	*err = (struct crcore_error)CRCORE_ERROR_INIT;
	close(STEAL_FD(m->uffd));
	spans_free(&m->saved);
}

static int register_all(struct watch *w, uint64_t mode, struct crcore_error *err)
{
	for (unsigned i = 0; i < w->n; i++) {
		w->v[i].mode = mode;
		int r = w->v[i].uffd < 0 ? 0 : watch_mappings(&w->v[i], err);
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			watch_give_up(&w->v[i], err);
	}
	return 0;
}

int watch_more(struct watch *w, struct crcore_error *err)
{
	return register_all(w, UFFDIO_REGISTER_MODE_WP, err);
}

void watch_ready_to_end(struct watch *w)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;

	register_all(w, UFFDIO_REGISTER_MODE_MISSING, &ignored);
}

/* How much address space came since, that could be watched. */
uint64_t watch_lacks(const struct watched *m)
{
	uint64_t n = 0;

	for (size_t i = 0; i < m->known.list.n; i++) {
		const struct vma_text *v = &m->known.list.v[i];
		if (watch_is_fit(v) && (v->prot & PROT_WRITE) &&
		    !spans_overlap(&m->known.watched, v->start, v->end))
			n += v->end - v->start;
	}
	return n;
}
