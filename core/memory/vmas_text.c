/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parses the text of /proc/PID/smaps and tells what each mapping is. Reading
 * thousands of entries must take a few milliseconds, so nothing here scans
 * with a format or allocates, except for names.
 *
 * Careful: paths come last on their line and may hold anything but a newline
 * (which is written as \012); an entry ends where the next line starts with a
 * lower case hexadecimal digit, all other lines start with a capital letter.
 */
#include <ctype.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include "core/memory/vmas.h"
#include "core/util/util.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/* ---- text ------------------------------------------------------------------- */

static const char *hex(const char *p, uint64_t *ret)
{
	uint64_t v = 0;

	for (;; p++) {
		if (*p >= '0' && *p <= '9')
			v = v << 4 | (uint64_t)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			v = v << 4 | (uint64_t)(*p - 'a' + 10);
		else
			break;
	}
	*ret = v;
	return p;
}

static const char *expect(const char *p, char c)
{
	return p && *p == c ? p + 1 : NULL;
}

/* "7f00-7f10 rw-p 00000000 08:01 1234      /path" */
static bool parse_head(const char *p, const char *eol, struct vma_text *v)
{
	uint64_t major, minor;

	p = expect(hex(p, &v->start), '-');
	p = p ? expect(hex(p, &v->end), ' ') : NULL;
	if (!p || eol - p < 5)
		return false;
	v->prot = (p[0] == 'r' ? PROT_READ : 0u) | (p[1] == 'w' ? PROT_WRITE : 0u) |
	          (p[2] == 'x' ? PROT_EXEC : 0u);
	v->shared = p[3] == 's';
	p = expect(p + 4, ' ');
	p = p ? expect(hex(p, &v->offset), ' ') : NULL;
	p = p ? expect(hex(p, &major), ':') : NULL;
	p = p ? expect(hex(p, &minor), ' ') : NULL;
	if (!p || v->start >= v->end)
		return false;
	v->dev = makedev((unsigned)major, (unsigned)minor);
	while (p < eol && *p >= '0' && *p <= '9')
		v->ino = v->ino * 10 + (uint64_t)(*p++ - '0');
	while (p < eol && *p == ' ')
		p++;
	v->path = p;
	v->path_len = (size_t)(eol - p);
	return true;
}

#define CODE(a, b) ((unsigned)(a) << 8 | (unsigned)(b))

static uint32_t flag(unsigned code)
{
	switch (code) {
	case CODE('g', 'd'): return VMF_GROWS_DOWN;
	case CODE('p', 'f'): return VMF_PFN;
	case CODE('l', 'o'): return VMF_LOCKED;
	case CODE('l', 'f'): return VMF_LOCK_ONFAULT;
	case CODE('i', 'o'): return VMF_IO;
	case CODE('m', 'm'): return VMF_MIXED;
	case CODE('s', 'r'): return VMF_SEQUENTIAL;
	case CODE('r', 'r'): return VMF_RANDOM;
	case CODE('d', 'c'): return VMF_DONTFORK;
	case CODE('n', 'r'): return VMF_NORESERVE;
	case CODE('h', 't'): return VMF_HUGETLB;
	case CODE('s', 'f'): return VMF_SYNC;
	case CODE('w', 'f'): return VMF_WIPEONFORK;
	case CODE('d', 'd'): return VMF_DONTDUMP;
	case CODE('h', 'g'): return VMF_HUGEPAGE;
	case CODE('n', 'h'): return VMF_NOHUGEPAGE;
	case CODE('m', 'g'): return VMF_MERGEABLE;
	case CODE('u', 'w'): return VMF_WRITES;
	case CODE('u', 'm'):
	case CODE('u', 'i'): return VMF_UFFD;
	case CODE('s', 's'): return VMF_SHADOW_STACK;
	case CODE('s', 'l'): return VMF_SEALED;
	case CODE('d', 'p'): return VMF_DROPPABLE;
	case CODE('a', 'c'): return VMF_ACCOUNTED;
	case CODE('m', 'w'): return VMF_MAY_WRITE;
	default: return 0;
	}
}

static bool starts(const char *p, const char *eol, const char *word)
{
	size_t n = strlen(word);

	return (size_t)(eol - p) >= n && !memcmp(p, word, n);
}

static void parse_detail(const char *p, const char *eol, struct vma_text *v)
{
	if (starts(p, eol, "VmFlags:")) {
		v->has_flags = true;
		for (p += 8; p + 2 < eol && *p == ' '; p += 3)
			v->flags |= flag(CODE(p[1], p[2]));
	} else if (starts(p, eol, "KernelPageSize:")) {
		v->page_kb = (uint32_t)strtoul(p + 15, NULL, 10);
	} else if (starts(p, eol, "ProtectionKey:")) {
		v->protection_key = (uint32_t)strtoul(p + 14, NULL, 10);
	}
}

int vma_parse(const char **at, const char *end, struct vma_text *ret)
{
	const char *p = *at, *eol;
	struct vma_text v = { .page_kb = 4 };

	if (p >= end)
		return 0;
	eol = memchr(p, '\n', (size_t)(end - p));
	if (!eol || !parse_head(p, eol, &v))
		return -EBADMSG;
	for (p = eol + 1; p < end && *p >= 'A' && *p <= 'Z'; p = eol + 1) {
		eol = memchr(p, '\n', (size_t)(end - p));
		if (!eol)
			return -EBADMSG;
		if (*p == 'V' || *p == 'K' || *p == 'P')
			parse_detail(p, eol, &v);
	}
	*at = p;
	*ret = v;
	return 1;
}

/* ---- what it is --------------------------------------------------------------- */

static bool path_is(const struct vma_text *v, const char *path)
{
	return v->path_len == strlen(path) && !memcmp(v->path, path, v->path_len);
}

static bool path_starts(const struct vma_text *v, const char *prefix)
{
	return starts(v->path, v->path + v->path_len, prefix);
}

bool vma_is_kernels(const struct vma_text *v)
{
	return path_is(v, "[vdso]") || path_is(v, "[vvar]") || path_is(v, "[vvar_vclock]") ||
	       path_is(v, "[vsyscall]");
}

static uint64_t advice(uint32_t flags)
{
	static const struct { uint32_t flag; int advice; } table[] = {
		{ VMF_RANDOM, MADV_RANDOM }, { VMF_SEQUENTIAL, MADV_SEQUENTIAL },
		{ VMF_DONTFORK, MADV_DONTFORK }, { VMF_MERGEABLE, MADV_MERGEABLE },
		{ VMF_HUGEPAGE, MADV_HUGEPAGE }, { VMF_NOHUGEPAGE, MADV_NOHUGEPAGE },
		{ VMF_DONTDUMP, MADV_DONTDUMP }, { VMF_WIPEONFORK, MADV_WIPEONFORK },
	};
	uint64_t v = 0;

	if (flags & VMF_DROPPABLE) /* implies these */
		flags &= ~(uint32_t)(VMF_DONTDUMP | VMF_WIPEONFORK);
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		if (flags & table[i].flag)
			v |= 1ull << table[i].advice;
	return v;
}

static int refuse(const struct vma_text *v, struct crcore_error *err, const char *why,
                  const char *what_to_do)
{
	crcore_fail_at(err, -1, -1, "mapping %llx-%llx %.*s", (unsigned long long)v->start,
	               (unsigned long long)v->end, (int)v->path_len, v->path);
	crcore_advise(err, "%s", what_to_do);
	return crcore_fail(err, -ENOTSUP, "%s", why);
}

static int check_flags(const struct vma_text *v, bool file, struct crcore_error *err)
{
	if (!v->has_flags)
		return refuse(v, err, "the kernel does not tell the flags of mappings",
		              "needs a kernel with CONFIG_PROC_PAGE_MONITOR");
	if (v->flags & VMF_UFFD)
		return refuse(v, err, "another task serves its pages on demand",
		              "wait until a lazy restore has loaded it, or end the program that "
		              "watches it");
	if (v->flags & VMF_SHADOW_STACK)
		return refuse(v, err, "a shadow stack", "start the program with shadow stacks off");
	if (v->flags & VMF_SYNC)
		return refuse(v, err, "mapped with MAP_SYNC (persistent memory)",
		              "map it without MAP_SYNC");
	if (v->protection_key)
		return refuse(v, err, "has a memory protection key",
		              "run the program without memory protection keys");
	if (!file && (v->flags & (VMF_IO | VMF_PFN | VMF_MIXED)))
		return refuse(v, err, "memory of a device", "no plugin knows such a mapping");
	return 0;
}

/* "[anon:NAME]" and "[anon_shmem:NAME]" */
static int take_name(const struct vma_text *v, const char *prefix, Crcore__Vma *rec,
                     struct crcore_error *err)
{
	size_t n = strlen(prefix);

	rec->name = strndup(v->path + n, v->path_len - n - 1);
	return rec->name ? 0 : crcore_no_memory(err);
}

/* Mappings whose name stands in brackets: not of a file. Returns 1 if it is one. */
static int classify_special(const struct vma_text *v, Crcore__Vma *rec, struct crcore_error *err)
{
	if (path_is(v, "[vdso]"))
		rec->backing = CRCORE__BACKING__VDSO;
	else if (path_is(v, "[vvar]") || path_is(v, "[vvar_vclock]"))
		rec->backing = CRCORE__BACKING__VVAR;
	else if (path_is(v, "[vsyscall]"))
		rec->backing = CRCORE__BACKING__VSYSCALL;
	else if (!v->path_len || path_is(v, "[heap]") || path_starts(v, "[stack"))
		rec->backing = CRCORE__BACKING__ANON;
	else if (path_starts(v, "[anon:"))
		rec->backing = CRCORE__BACKING__ANON;
	else
		return refuse(v, err, "a kernel mapping that is not known",
		              "no plugin knows such a mapping");
	if (path_starts(v, "[anon:") && take_name(v, "[anon:", rec, err) < 0)
		return -ENOMEM;
	return 1;
}

/* Shared memory without a file that anybody could name. The kernel keeps it in
 * files of its own; memory that has a name there (a key, a descriptor) is a
 * file to us, and a plugin's. */
static int classify_memory(const struct vma_text *v, uint64_t shmem_dev, Crcore__Vma *rec,
                           struct crcore_error *err)
{
	bool named = path_starts(v, "[anon_shmem:");

	if (named || (v->shared && v->dev == shmem_dev && path_is(v, "/dev/zero (deleted)")) ||
	    (v->shared && path_is(v, "/anon_hugepage (deleted)")))
		rec->backing = CRCORE__BACKING__SEGMENT;
	else if (path_is(v, "/anon_hugepage (deleted)"))
		rec->backing = CRCORE__BACKING__HUGETLB;
	else
		return 0;
	if (!v->shared && named)
		return refuse(v, err, "a private mapping of shared memory", "map it another way");
	if (named && take_name(v, "[anon_shmem:", rec, err) < 0)
		return -ENOMEM;
	return 1;
}

static uint32_t log2_of(uint64_t v)
{
	uint32_t n = 0;

	while (v > 1) {
		v >>= 1;
		n++;
	}
	return n;
}

int vma_classify(const struct vma_text *v, uint64_t shmem_dev, Crcore__Vma *rec,
                 struct crcore_error *err)
{
	bool file = v->ino || v->dev || (v->path_len && v->path[0] == '/');
	int r = file ? classify_memory(v, shmem_dev, rec, err) : classify_special(v, rec, err);

	if (r < 0)
		return r;
	file = r == 0;
	rec->start = v->start;
	rec->end = v->end;
	rec->prot = v->prot;
	rec->shared = v->shared;
	if (vma_is_special(rec))
		return VMA_PLAIN;
	if ((r = check_flags(v, file, err)) < 0)
		return r;
	if (file)
		rec->backing = CRCORE__BACKING__FILE;
	rec->grows_down = v->flags & VMF_GROWS_DOWN;
	rec->locked = v->flags & VMF_LOCKED;
	rec->lock_onfault = v->flags & VMF_LOCK_ONFAULT;
	rec->noreserve = v->flags & VMF_NORESERVE;
	rec->sealed = v->flags & VMF_SEALED;
	rec->droppable = v->flags & VMF_DROPPABLE;
	rec->accounted = v->flags & VMF_ACCOUNTED;
	rec->advice = advice(v->flags);
	if (v->flags & VMF_HUGETLB)
		rec->huge_shift = log2_of((uint64_t)v->page_kb << 10);
	if (rec->backing != CRCORE__BACKING__ANON)
		rec->offset = v->offset;
	return file ? VMA_FILE : VMA_PLAIN;
}
