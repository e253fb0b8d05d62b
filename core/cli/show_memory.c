/* SPDX-License-Identifier: Apache-2.0 */
/* What `show` says about memory: sums of the page runs, and the command line. */
#include "core/cli/show.h"
#include "core/util/util.h"

#define CMDLINE_MAX (32u << 10)
#define HOPS_MAX 64 /* runs that refer to a run that refers to a run ... */

/* How many runs name which other memory; seen is zeroed, one byte an mm. */
static void count_runs(const struct show *s, unsigned i, unsigned char *seen)
{
	const Crcore__Mm *m = s->records.mms[i];
	struct memory_count *c = &s->memory[i];

	for (size_t k = 0; k < m->n_runs; k++) {
		const Crcore__Run *r = m->runs[k];
		uint64_t bytes = r->pages * PAGE;
		if (r->source == CRCORE__SOURCE__PAGES)
			c->stored += bytes;
		else if (r->source == CRCORE__SOURCE__ZERO)
			c->zero += bytes;
		else if (r->source == CRCORE__SOURCE__OTHER) {
			c->shared += bytes;
			unsigned o = core_mm_index(&s->records, r->mm);
			if (o == s->records.nmms || o == i || seen[o])
				continue;
			seen[o] = 1;
			s->memory[o].nto++;
			if (c->nfrom < ARRAY_SIZE(c->from))
				c->from[c->nfrom] = show_owner_mm(s, r->mm);
			c->nfrom++;
		}
	}
}

int show_count_memory(struct show *s, struct crcore_error *err)
{
	unsigned n = s->records.nmms;
	cleanup_free unsigned char *seen = malloc(n + 1);

	s->memory = calloc(n + 1, sizeof(*s->memory));
	if (!s->memory || !seen)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < n; i++) {
		const Crcore__Mm *m = s->records.mms[i];
		for (size_t k = 0; k < m->n_vmas; k++)
			s->memory[i].mapped += m->vmas[k]->end - m->vmas[k]->start;
		memset(seen, 0, n);
		count_runs(s, i, seen);
	}
	return 0;
}

static const Crcore__Run *find_run(const Crcore__Mm *m, uint64_t addr)
{
	size_t low = 0, high = m->n_runs;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const Crcore__Run *r = m->runs[mid];
		if (addr < r->addr)
			high = mid;
		else if (addr - r->addr >= r->pages * PAGE)
			low = mid + 1;
		else
			return r;
	}
	return NULL;
}

/* The part of [addr, addr+len) that one run holds; 0: unknown. */
static size_t read_piece(const struct show *s, const Crcore__Mm *m, uint64_t addr, void *buf,
                         size_t len)
{
	for (int hops = 0; m && hops < HOPS_MAX; hops++) {
		const Crcore__Run *r = find_run(m, addr);
		if (!r)
			return 0;
		uint64_t at = addr - r->addr, left = r->pages * PAGE - at;
		len = len < left ? len : left;
		if (r->source == CRCORE__SOURCE__ZERO) {
			memset(buf, 0, len);
			return len;
		}
		if (r->source == CRCORE__SOURCE__PAGES)
			return pages_read(s->pages, r->offset + at, buf, len, NULL) == 0 ? len : 0;
		addr = r->offset + at;
		m = core_mm(&s->records, r->mm);
	}
	return 0;
}

size_t show_read_memory(const struct show *s, const Crcore__Mm *m, uint64_t addr, void *buf,
                        size_t len)
{
	size_t done = 0;

	while (done < len) {
		size_t n = read_piece(s, m, addr + done, (char *)buf + done, len - done);
		if (!n)
			break;
		done += n;
	}
	return done;
}

char *show_cmdline(const struct show *s, const Crcore__Task *t, size_t *ret_len)
{
	const Crcore__Mm *m = core_mm(&s->records, t->mm);

	if (!m || m->arg_end <= m->arg_start)
		return NULL;
	size_t len = m->arg_end - m->arg_start < CMDLINE_MAX ? m->arg_end - m->arg_start : CMDLINE_MAX;
	char *buf = malloc(len + 1);
	if (!buf)
		return NULL;
	len = show_read_memory(s, m, m->arg_start, buf, len);
	while (len && !buf[len - 1]) /* the last one's end, and what setproctitle left */
		len--;
	if (!len) {
		free(buf);
		return NULL;
	}
	buf[len] = 0;
	*ret_len = len + 1;
	return buf;
}
