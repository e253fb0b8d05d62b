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

#define LET_GO_BYTES (16ull << 20) /* at once */

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
	return m && m->known.n && pread(m->pagemap.fd, &entry, sizeof(entry),
	       (off_t)(m->known.v[0].start / PAGE * sizeof(entry))) == (ssize_t)sizeof(entry) ?
	       &m->known : NULL;
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

static int borrow_all(struct watch *w, uint64_t timeout_ns, struct crcore_error *err)
{
	cleanup_free struct borrow *v = calloc(w->n + 1, sizeof(*v));
	int r;

	if (!v)
		return memory_enomem(err);
	for (unsigned i = 0; i < w->n; i++)
		v[i] = (struct borrow){ .thread = w->v[i].mm->task->threads, .nr = SYS_userfaultfd,
			                .args = { O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY } };
	if ((r = inject_borrow(v, w->n, timeout_ns, err)) < 0)
		return r;
	for (unsigned i = 0; i < w->n; i++) {
		if (set_up(v[i].fd))
			w->v[i].uffd = v[i].fd;
		else if (v[i].fd >= 0)
			close(v[i].fd);
		if (w->v[i].uffd < 0)
			log_line(2, "pid %d: its memory cannot be watched", w->v[i].pid);
	}
	return 0;
}

int watch_begin(struct tree *tree, struct image *image, uint64_t timeout_ns, struct watch **ret,
                struct crcore_error *err)
{
	struct watch *w = calloc(1, sizeof(*w));
	int r = 0;

	if (!w || !(w->v = calloc(tree->nmms + 1, sizeof(*w->v)))) {
		free(w);
		return memory_enomem(err);
	}
	w->tree = tree;
	w->store = (struct store){ .image = image, .live = true };
	for (unsigned i = 0; r == 0 && i < tree->nmms; i++) {
		struct watched *m = &w->v[w->n++];
		*m = (struct watched){ .mm = tree->mms[i], .pid = tree->mms[i]->task->abi.pid,
			               .uffd = -1 };
		m->source = (struct source){ .mm = m->mm, .runs = &m->runs, .gone = &m->gone };
		m->pagemap.pid = m->pid;
		m->pagemap.fd = openat(m->mm->task->proc, "pagemap", O_RDONLY | O_CLOEXEC);
		if (m->pagemap.fd < 0)
			r = crcore_fail(err, -errno, "cannot open its page map: %s", strerror(errno));
	}
	if (r == 0 && (r = borrow_all(w, timeout_ns, err)) == 0)
		r = watch_more(w, err);
	if (r < 0) {
		watch_end(w, false);
		return r;
	}
	*ret = w;
	return 0;
}

/*
 * To close it ends the watch at once, but keeps the address space locked while the kernel
 * visits every page. If no page is protected any more, only those wait for that who map
 * memory or touch some for the first time. To end it range by range would cut mappings in
 * two for a while, which mremap(2) does not forgive.
 */
static void let_go(struct watched *m)
{
	for (size_t i = 0; i < m->known.watched.n; i++) {
		const struct span *s = &m->known.watched.v[i];
		for (uint64_t at = s->start; at < s->end; at += LET_GO_BYTES) {
			struct uffdio_writeprotect off = {
				.range = { at, s->end - at < LET_GO_BYTES ? s->end - at : LET_GO_BYTES },
			};
			ioctl(m->uffd, UFFDIO_WRITEPROTECT, &off); /* unmapped by now: no harm */
		}
	}
}

void watch_end(struct watch *w, bool lives)
{
	uint64_t start = trace_start();

	for (unsigned i = 0; w && i < w->n; i++) {
		struct watched *m = &w->v[i];
		if (m->uffd >= 0 && lives)
			let_go(m);
		if (m->uffd >= 0)
			close(m->uffd);
		if (m->pagemap.fd >= 0)
			close(m->pagemap.fd);
		spans_free(&m->saved);
		known_free(&m->known);
		runs_clear(&m->runs);
		runs_clear(&m->gone);
	}
	if (w) {
		trace_end(start, TRACE_HERE, "memory", "end the watch");
		free(w->store.jobs);
		free(w->v);
	}
	free(w);
}

/* ---- what to watch -------------------------------------------------------------------- */

/* Private anonymous memory; all else is saved while the tree stands still. */
static bool is_fit(const struct vma_text *v)
{
	static const char *const names[] = { "[heap]", "[stack", "[anon:" };

	if (v->shared || v->dev || v->ino)
		return false;
	for (unsigned i = 0; v->path_len && i < ARRAY_SIZE(names); i++)
		if (v->path_len >= strlen(names[i]) && !memcmp(v->path, names[i], strlen(names[i])))
			return true;
	return !v->path_len;
}

/* Whole mappings, which cannot change meanwhile: what is watched in part is cut in two. */
static int watch_mappings(struct watched *m, struct crcore_error *err)
{
	cleanup_free char *text = NULL;
	struct spans now = { 0 };
	struct vma_text v;
	size_t len;
	int r = proc_read(m->mm->task->proc, "maps", &text, &len, err);
	const char *at = text;

	if (r < 0)
		return r;
	while ((r = vma_parse(&at, text + len, &v)) > 0) {
		struct uffdio_register reg = {
			.range = { v.start, v.end - v.start }, .mode = UFFDIO_REGISTER_MODE_WP,
		};
		if (!is_fit(&v) || ioctl(m->uffd, UFFDIO_REGISTER, &reg) < 0)
			continue;
		if (!spans_append(&now, (struct span){ v.start, v.end, v.start, 0 })) {
			r = memory_enomem(err);
			break;
		}
	}
	spans_free(&m->known.watched);
	m->known.watched = now;
	return r;
}

/* One that ends, or that the kernel tells nothing of, is left for the end. */
void watch_give_up(struct watched *m, struct crcore_error *err)
{
	log_line(2, "pid %d: no longer watched: %s", m->pid, err->message);
	*err = (struct crcore_error)CRCORE_ERROR_INIT;
	close(STEAL_FD(m->uffd));
	spans_free(&m->saved);
}

int watch_more(struct watch *w, struct crcore_error *err)
{
	for (unsigned i = 0; i < w->n; i++) {
		int r = w->v[i].uffd < 0 ? 0 : watch_mappings(&w->v[i], err);
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			watch_give_up(&w->v[i], err);
	}
	return 0;
}

/* How much address space came since, that could be watched. */
uint64_t watch_lacks(const struct watched *m)
{
	uint64_t n = 0;

	for (size_t i = 0; i < m->known.n; i++) {
		const struct vma_text *v = &m->known.v[i];
		if (is_fit(v) && (v->prot & PROT_WRITE) &&
		    !spans_overlap(&m->known.watched, v->start, v->end))
			n += v->end - v->start;
	}
	return n;
}
