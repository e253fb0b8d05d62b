/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the bits of the kernel's words mean: see flags.h. Learned from samples, mappings of
 * our own of which each has one more flag than the others; their words are compared with
 * what smaps says of them. A flag is one bit: that which is set in those samples that have
 * the flag and in no other. What a bit means that was never seen, or that could mean several
 * flags, or a flag that several bits could mean, is not known: a word with it is not understood.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "core/memory/flags.h"
#include "core/util/util.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* Flags that every sample with this bit has, and no other. */
static uint32_t may_mean(unsigned bit, const struct flag_word *words,
                         const uint32_t *flags, size_t n)
{
	uint32_t maybe = UINT32_MAX;

	for (size_t i = 0; i < n; i++)
		maybe &= words[i].bits >> bit & 1 ? flags[i] : ~flags[i];
	return maybe;
}

int flags_learn(struct flag_bits *b, const struct flag_word *words, const uint32_t *flags, size_t n)
{
	uint32_t told = 0, once = 0, more = 0; /* flags that one bit may mean, and several */
	uint64_t seen = 0;

	*b = (struct flag_bits){ 0 };
	for (size_t i = 0; i < n; i++) {
		seen |= words[i].bits;
		told |= flags[i];
	}
	for (unsigned bit = 0; bit < 64; bit++) {
		if (!(seen >> bit & 1))
			continue;
		uint32_t maybe = b->meaning[bit] = may_mean(bit, words, flags, n);
		if (maybe & (maybe - 1))
			more |= maybe;
		more |= once & maybe;
		once |= maybe;
	}
	if (told & ~once)
		return -ENOTSUP;
	for (unsigned bit = 0; bit < 64; bit++)
		if ((seen >> bit & 1) && !(b->meaning[bit] & more))
			b->known |= 1ull << bit;
	return 0;
}

int flags_complete(const struct flag_bits *b, const struct flag_word *words, size_t nwords,
                   struct vma_text *v, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		bool kernels = vma_is_kernels(&v[i]);
		uint64_t bits = at < nwords ? words[at].bits : 0;
		if (at == nwords || words[at].start != v[i].start || words[at].end != v[i].end) {
			if (!kernels) /* [vsyscall] is in the list, but no mapping of the task's */
				return -EAGAIN;
			v[i].has_flags = true;
			continue;
		}
		at++;
		if (!kernels && (bits & ~b->known))
			return -ENOTSUP;
		v[i].flags = 0;
		v[i].has_flags = true;
		for (bits &= b->known; bits; bits &= bits - 1)
			v[i].flags |= b->meaning[__builtin_ctzll(bits)];
		if (words[at - 1].policy)
			v[i].flags |= VMF_POLICY;
		if (v[i].flags & VMF_HUGETLB) /* how large its pages are is told by smaps alone */
			return -ENOTSUP;
	}
	return at == nwords ? 0 : -EAGAIN;
}

/* ---- samples ---------------------------------------------------------------------------- */

/* What is done with one, or what it is of: a file, memory of the kernel, huge pages. */
enum then { LOCK = 1, LOCK_ONFAULT, WATCH, FILE_PAGE, KERNEL_PAGE, HUGE_PAGE };

static const struct sample { int prot, flags, advice; enum then then; } samples[] = {
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, 0 },
	{ PROT_NONE, MAP_PRIVATE, 0, 0 },
	{ PROT_READ | PROT_EXEC, MAP_PRIVATE, 0, 0 },
	{ PROT_READ | PROT_WRITE, MAP_SHARED, 0, 0 },
	{ PROT_READ, MAP_SHARED, 0, FILE_PAGE }, /* can never be written to */
	{ PROT_READ | PROT_WRITE, MAP_SHARED, 0, KERNEL_PAGE },
	{ PROT_NONE, MAP_PRIVATE | MAP_NORESERVE | MAP_HUGETLB, 0, HUGE_PAGE },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, 0, 0 },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_GROWSDOWN, 0, 0 },
	{ PROT_READ | PROT_WRITE, MAP_DROPPABLE, 0, 0 },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, LOCK },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, LOCK_ONFAULT },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, WATCH },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_SEQUENTIAL, 0 },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_RANDOM, 0 },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_DONTFORK, 0 },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_WIPEONFORK, 0 },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_DONTDUMP, 0 },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_HUGEPAGE, 0 },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_NOHUGEPAGE, 0 },
	{ PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_MERGEABLE, 0 },
};
enum { SAMPLES = ARRAY_SIZE(samples), EACH = 2 * PAGE /* the second page keeps them apart */,
       HUGE = 2 << 20, HUGE_AREA = 2 * HUGE /* one aligned page of it, before all others */ };

/* As copying ahead does it. Returns a descriptor whose end is that of the watch. */
static int watch_page(char *page)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .range = { (uintptr_t)page, PAGE },
		                       .mode = UFFDIO_REGISTER_MODE_WP };

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0)
		ioctl(fd, UFFDIO_REGISTER, &reg);
	return fd;
}

/* What the kernel lacks is not learned, and is in no word. */
static void make_samples(char *area, int *watch)
{
	cleanup_close int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	cleanup_close int kernel = flags_kernel_page();
	char *huge = (char *)ALIGN_UP((uintptr_t)area, (uintptr_t)HUGE);

	for (unsigned i = 0; i < SAMPLES; i++) {
		const struct sample *s = &samples[i];
		char *at = s->then == HUGE_PAGE ? huge : area + HUGE_AREA + i * EACH;
		int fd = s->then == FILE_PAGE ? file : s->then == KERNEL_PAGE ? kernel : -1;
		int anon = s->then == FILE_PAGE || s->then == KERNEL_PAGE ? 0 : MAP_ANONYMOUS;
		if (mmap(at, s->then == HUGE_PAGE ? HUGE : PAGE, s->prot, s->flags | anon | MAP_FIXED, fd,
		         0) != at)
			continue;
		if (s->advice)
			madvise(at, PAGE, s->advice);
		if (s->then == LOCK || s->then == LOCK_ONFAULT)
			mlock2(at, PAGE, s->then == LOCK ? 0 : MLOCK_ONFAULT);
		if (s->then == WATCH)
			*watch = watch_page(at);
	}
}

/* The entries of smaps in [start,end), which is read no further. */
static int read_samples(uint64_t start, uint64_t end, struct vma_text *ret, size_t max,
                        size_t *ret_n)
{
	cleanup_close int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	const size_t cap = 64u << 10;
	cleanup_free char *text = malloc(cap);
	struct vma_text v = { 0 };
	size_t len = 0;
	ssize_t n;

	if (fd < 0 || !text)
		return -ENOTSUP;
	*ret_n = 0;
	/* a read ends with an entry */
	while (v.start < end && (n = read(fd, text, cap)) > 0) {
		const char *at = text;
		len = (size_t)n;
		while (v.start < end && vma_parse(&at, text + len, &v) > 0)
			if (v.start >= start && v.end <= end && *ret_n < max)
				ret[(*ret_n)++] = v;
		if (v.start < end && at != text + len)
			return -EBADMSG;
	}
	return 0;
}

/* Keeps those of [start,end). How many there are. */
static size_t words_in(uint64_t start, uint64_t end, struct flag_word *v, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++)
		if (v[i].start >= start && v[i].end <= end)
			v[k++] = v[i];
	return k;
}

static int compare(struct flags *f, uint64_t start, uint64_t end, struct crcore_error *err)
{
	cleanup_free struct flag_word *words = NULL;
	struct vma_text v[2 * SAMPLES];
	uint32_t flags[2 * SAMPLES];
	size_t n, nwords;
	int r = flags_words(f->prog, getpid(), &words, &nwords, err);

	if (r < 0)
		return r;
	nwords = words_in(start, end, words, nwords);
	r = read_samples(start, end, v, ARRAY_SIZE(v), &n);
	for (size_t i = 0; r == 0 && i < n; i++) {
		flags[i] = v[i].flags;
		if (n != nwords || v[i].start != words[i].start || v[i].end != words[i].end ||
		    !v[i].has_flags)
			r = -ENOTSUP;
	}
	if (r == 0)
		r = n ? flags_learn(&f->bits, words, flags, n) : -ENOTSUP;
	return r < 0 ? crcore_fail(err, r, "the kernel's flags of mappings are not understood") : 0;
}

/* They are made low, so that smaps tells them first. */
int flags_calibrate(struct flags *f, struct crcore_error *err)
{
	const size_t len = HUGE_AREA + SAMPLES * EACH;
	char *area = mmap((void *)0x10000000, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cleanup_close int watch = -1;

	if (area == MAP_FAILED)
		return crcore_fail(err, -errno, "no room for samples: %s", strerror(errno));
	make_samples(area, &watch);
	int r = compare(f, (uintptr_t)area, (uintptr_t)area + len, err);
	munmap(area, len);
	return r;
}
