/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blocks of store.c: what is copied while a tree stands still is kept in them, and written
 * when it runs again. Blocks are used again in the next round, above all in the last, while the
 * tree stands still: to touch memory for the first time takes as long as to copy it.
 */
#include "core/memory/store_priv.h"
#include "core/util/parallel.h"

char *store_block_get(struct store *s)
{
	char *block = NULL;

	if (s->nspare)
		return s->spare[--s->nspare];
	return posix_memalign((void **)&block, PAGE, IMAGE_BLOCK) ? NULL : block;
}

void store_block_put(struct store *s, char *block)
{
	if (block && s->nspare < MAX_WORKERS)
		s->spare[s->nspare++] = block;
	else
		free(block);
}

int store_put_off(struct copier *c, uint64_t block, size_t len, struct crcore_error *err)
{
	struct store *s = c->q->store;
	char *fresh = NULL;
	int r = 0;

	pthread_mutex_lock(&c->q->lock);
	if (s->later && s->nlate < LATE_MAX) {
		if (!GROW(s->late, s->nlate) || !(fresh = store_block_get(s)))
			r = crcore_no_memory(err);
		else
			s->late[s->nlate++] = (struct late){ c->block, len, c->file, block };
	}
	pthread_mutex_unlock(&c->q->lock);
	if (!fresh)
		return r;
	c->block = fresh;
	return 1;
}

static int write_late(void *arg, size_t from, size_t to, struct crcore_error *err)
{
	const struct store *s = arg;
	int r = 0;

	for (size_t i = from; r == 0 && i < to; i++) {
		r = image_pages_block(s->image, s->late[i].file, s->late[i].block, s->late[i].bytes,
		                      s->late[i].len, err);
		free(STEAL(s->late[i].bytes));
	}
	return r;
}

static void late_free(struct store *s)
{
	for (size_t i = 0; i < s->nlate; i++)
		free(s->late[i].bytes);
	free(STEAL(s->late));
	s->nlate = 0;
}

int store_late(struct store *s, struct crcore_error *err)
{
	unsigned n = PAGE_FILES;

	while (n > 1 && !s->blocks[n - 1])
		n--;
	int r = image_pages_begin(s->image, n, err);
	if (r < 0)
		return r;
	r = parallel_try(s->nlate, 1, write_late, s, err);
	late_free(s);
	return r;
}

void store_go_on(struct store *s, struct store *from)
{
	memcpy(s->blocks, from->blocks, sizeof(s->blocks));
	s->base = from->base;
	memcpy(s->spare, from->spare, sizeof(s->spare));
	s->nspare = from->nspare;
	from->nspare = 0;
	s->open = from->open;
	from->open.block = NULL;
}

void store_free(struct store *s)
{
	late_free(s);
	free(STEAL(s->jobs));
	free(STEAL(s->open.block));
	while (s->nspare)
		free(s->spare[--s->nspare]);
}
