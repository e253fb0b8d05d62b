/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of a process's mappings with their flags: its maps, completed by the words of the
 * kernel (flags.h), or by what was known shortly before (known.h); else smaps, which visits
 * every present page on the way.
 */
#include <fcntl.h>
#include "core/memory/known.h"
#include "core/memory/memory.h"
#include "core/task/task.h"
#include "core/util/trace.h"
#include "core/util/util.h"

/* To be ready for words takes 1.3 ms. smaps takes half of that for so much resident memory, or for
 * mappings whose list is so long, and the tree stands still meanwhile. */
#define WORTH_KIB (32u << 10)
#define WORTH_MAPS (16u << 10)

enum { TRIES = 3 }; /* a task that runs may map something between two looks */

/* ---- how they are read ------------------------------------------------------------------ */

int flags_open(struct flags **ret, struct crcore_error *err)
{
	struct flags *f = calloc(1, sizeof(*f));

	if (!f)
		return crcore_no_memory(err);
	f->types = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);
	f->prog = -1;
	*ret = f;
	return 0;
}

static uint64_t resident_kib(const struct task *t)
{
	cleanup_free char *text = NULL;
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	unsigned long long pages;

	if (proc_read(t->proc, "statm", &text, NULL, &ignored) < 0 ||
	    sscanf(text, "%*u %llu", &pages) != 1)
		return 0;
	return pages * (PAGE >> 10);
}

/* How long the list is, at most WORTH_MAPS. */
static size_t maps_length(const struct task *t)
{
	cleanup_close int fd = openat(t->proc, "maps", O_RDONLY | O_CLOEXEC);
	char text[4096];
	size_t len = 0;
	ssize_t n;

	while (fd >= 0 && len < WORTH_MAPS && (n = read(fd, text, sizeof(text))) > 0)
		len += (size_t)n;
	return len;
}

static bool worth_it(const struct tree *tree)
{
	uint64_t kib = 0;

	for (unsigned i = 0; i < tree->ntasks && kib < WORTH_KIB; i++) {
		kib += resident_kib(tree->tasks[i]);
		if (kib < WORTH_KIB)
			kib += maps_length(tree->tasks[i]) * (WORTH_KIB / WORTH_MAPS);
	}
	return kib >= WORTH_KIB;
}

static int get_ready(struct flags *f, struct crcore_error *err)
{
	f->prog = flags_program(f->types, err);
	int r = f->prog < 0 ? f->prog : flags_calibrate(f, err);

	if (r < 0 && f->prog >= 0)
		close(STEAL_FD(f->prog));
	return r;
}

int flags_try(void)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct flags *f = NULL;
	int r = flags_open(&f, &ignored);

	if (r == 0)
		r = get_ready(f, &ignored);
	flags_close(f);
	return r;
}

void flags_prepare(struct flags *f, const struct tree *tree)
{
	struct crcore_error why = CRCORE_ERROR_INIT;
	uint64_t start = trace_start();

	if (!worth_it(tree))
		return;
	if (get_ready(f, &why) < 0)
		log_line(2, "flags of mappings are read from smaps: %s", why.message);
	else
		log_line(2, "flags of mappings are read from the kernel's own words");
	trace_end(start, TRACE_HERE, "memory", "learn flags of mappings");
}

void flags_close(struct flags *f)
{
	if (!f)
		return;
	if (f->types >= 0)
		close(f->types);
	if (f->prog >= 0)
		close(f->prog);
	free(f);
}

/* ---- the list ----------------------------------------------------------------------------- */

void vma_list_free(struct vma_list *l)
{
	free(l->text);
	free(l->v);
	*l = (struct vma_list){ 0 };
}

static int read_file(struct vma_list *l, const struct task *t, const char *name,
                     struct crcore_error *err)
{
	struct vma_text v;
	size_t len;
	int r;

	vma_list_free(l);
	if ((r = proc_read(t->proc, name, &l->text, &len, err)) < 0)
		return r;
	const char *at = l->text;
	while ((r = vma_parse(&at, l->text + len, &v)) > 0) {
		if (!GROW(l->v, l->n))
			return crcore_no_memory(err);
		l->v[l->n++] = v;
	}
	if (r < 0) {
		crcore_fail_at(err, t->abi.pid, -1, "memory map");
		crcore_fail(err, r, "cannot understand %s near \"%.60s\"", name, at);
	}
	return r;
}

/* maps, if the flags can be had otherwise. */
static bool read_maps(struct vma_list *l, const struct task *t, const struct flags *f)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	int r = f && f->prog >= 0 ? -EAGAIN : -ENOTSUP;

	for (int i = 0; r == -EAGAIN && i < TRIES; i++) {
		cleanup_free struct flag_word *words = NULL;
		size_t n;
		if (read_file(l, t, "maps", &ignored) < 0 ||
		    flags_words(f->prog, t->abi.pid, &words, &n, &ignored) < 0)
			return false;
		r = flags_complete(&f->bits, words, n, l->v, l->n);
		if (r == -ENOTSUP)
			log_line(3, "pid %d: flags of a mapping were not learned", t->abi.pid);
	}
	return r == 0;
}

static bool read_known(struct vma_list *l, const struct task *t, const struct known *k)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	size_t i = 0;

	if (!k || read_file(l, t, "maps", &ignored) < 0)
		return false;
	while (i < l->n && known_complete(k, &l->v[i]))
		i++;
	return i == l->n;
}

int vma_list_read(struct vma_list *l, const struct task *t, const struct vmas_how *how,
                  struct crcore_error *err)
{
	if (read_maps(l, t, how->flags) || read_known(l, t, how->known))
		return 0;
	int r = read_file(l, t, how->quick ? "maps" : "smaps", err);
	l->no_flags = how->quick;
	for (size_t i = 0; r == 0 && i < l->n; i++) {
		l->v[i].flags |= VMF_POLICY; /* numa_maps would count all pages for that */
		l->v[i].has_flags |= how->quick;
	}
	return r;
}
