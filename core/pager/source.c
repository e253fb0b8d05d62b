/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the image for the pager: a block is checked when it is first read. */
#include "core/pager/priv.h"

bool source_begin(struct source *s, struct pages *pages, bool verify)
{
	*s = (struct source){ .pages = pages, .verify = verify };
	s->checked = calloc(pages_length(pages) / PAGE + 1, 1);
	return s->checked != NULL;
}

uint64_t source_block_end(const struct source *s, uint64_t offset)
{
	uint64_t start;
	size_t len;

	pages_block(s->pages, offset, &start, &len);
	return start + len;
}

const uint8_t *source_read(struct source *s, uint64_t offset, size_t len, uint8_t *buf,
                           struct crcore_error *err)
{
	uint64_t start;
	size_t block;

	pages_block(s->pages, offset, &start, &block);
	uint8_t *checked = &s->checked[start / PAGE];
	if (!s->verify || __atomic_load_n(checked, __ATOMIC_ACQUIRE))
		return pages_read(s->pages, offset, buf, len, err) < 0 ? NULL : buf;
	if (pages_read_block(s->pages, offset, buf, err) < 0)
		return NULL;
	__atomic_store_n(checked, 1, __ATOMIC_RELEASE);
	return buf + (offset - start);
}
