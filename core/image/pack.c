/* SPDX-License-Identifier: Apache-2.0 */
/* See pack.h. */
#include <dlfcn.h>
#include <lz4.h>
#include <lz4hc.h>
#include <pthread.h>
#include <zstd.h>
#include "core/image/pack.h"
#include "core/util/util.h"

#define ZSTD_FASTEST 1

/* What zstd keeps from block to block: made anew it would cost as much as a block. */
struct means {
	struct means *next;
	ZSTD_CCtx *c;
	ZSTD_DCtx *d;
};

#define LZ4_FUNCTIONS(X) \
	X(LZ4_compress_fast) \
	X(LZ4_compress_HC) \
	X(LZ4_decompress_safe)
#define ZSTD_FUNCTIONS(X) \
	X(ZSTD_compressCCtx) \
	X(ZSTD_createCCtx) \
	X(ZSTD_createDCtx) \
	X(ZSTD_decompressDCtx) \
	X(ZSTD_freeCCtx) \
	X(ZSTD_freeDCtx) \
	X(ZSTD_isError)

struct pack {
	enum pack_codec codec;
	int level;
	void *library;
	pthread_mutex_t lock; /* guards unused */
	struct means *unused;
#define POINTER(f) __typeof__(f) *p_##f;
	LZ4_FUNCTIONS(POINTER)
	ZSTD_FUNCTIONS(POINTER)
};

static const struct library {
	const char *soname, *package;
	unsigned n;
	struct { const char *name; size_t at; } functions[8];
} libraries[PACK_CODECS] = {
#define NAMED(f) { #f, offsetof(struct pack, p_##f) },
	[PACK_LZ4] = { "liblz4.so.1", "liblz4-1", 3, { LZ4_FUNCTIONS(NAMED) } },
	[PACK_ZSTD] = { "libzstd.so.1", "libzstd1", 7, { ZSTD_FUNCTIONS(NAMED) } },
};

static bool find_functions(struct pack *p, const struct library *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		void *f = dlsym(p->library, l->functions[i].name);
		if (!f)
			return false;
		memcpy((char *)p + l->functions[i].at, &f, sizeof(f));
	}
	return true;
}

int pack_open(enum pack_codec codec, int level, struct pack **ret, struct crcore_error *err)
{
	const struct library *l = &libraries[codec];
	struct pack *p = calloc(1, sizeof(*p));

	if (!p)
		return crcore_no_memory(err);
	p->codec = codec;
	p->level = level;
	pthread_mutex_init(&p->lock, NULL);
	p->library = dlopen(l->soname, RTLD_NOW | RTLD_LOCAL);
	if (p->library && find_functions(p, l)) {
		*ret = p;
		return 0;
	}
	pack_close(p);
	crcore_advise(err, "install the package %s, or dump with dump.compress=none", l->package);
	return crcore_fail(err, -ENOENT, "cannot load %s, which packs pages", l->soname);
}

void pack_close(struct pack *p)
{
	if (!p)
		return;
	for (struct means *m = p->unused, *next; m; m = next) {
		next = m->next;
		p->p_ZSTD_freeCCtx(m->c);
		p->p_ZSTD_freeDCtx(m->d);
		free(m);
	}
	if (p->library)
		dlclose(p->library);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static struct means *borrow(struct pack *p)
{
	pthread_mutex_lock(&p->lock);
	struct means *m = p->unused;
	if (m)
		p->unused = m->next;
	pthread_mutex_unlock(&p->lock);
	return m ? m : calloc(1, sizeof(*m));
}

static void give_back(struct pack *p, struct means *m)
{
	pthread_mutex_lock(&p->lock);
	m->next = p->unused;
	p->unused = m;
	pthread_mutex_unlock(&p->lock);
}

static size_t zstd_pack(struct pack *p, const void *from, size_t len, void *to, size_t room)
{
	struct means *m = borrow(p);
	size_t n = 0;

	if (m && (m->c || (m->c = p->p_ZSTD_createCCtx())))
		n = p->p_ZSTD_compressCCtx(m->c, to, room, from, len, p->level ? p->level : ZSTD_FASTEST);
	if (m)
		give_back(p, m);
	return p->p_ZSTD_isError(n) ? 0 : n;
}

static bool zstd_unpack(struct pack *p, const void *from, size_t n, void *to, size_t len)
{
	struct means *m = borrow(p);
	size_t got = 0;

	if (m && (m->d || (m->d = p->p_ZSTD_createDCtx())))
		got = p->p_ZSTD_decompressDCtx(m->d, to, len, from, n);
	if (m)
		give_back(p, m);
	return got == len; /* an error is larger than any length */
}

/* Its lengths are ints. */
static bool lz4_takes(size_t a, size_t b)
{
	return a <= LZ4_MAX_INPUT_SIZE && b <= LZ4_MAX_INPUT_SIZE;
}

size_t pack_block(struct pack *p, const void *from, size_t len, void *to, size_t room)
{
	if (p->codec == PACK_ZSTD)
		return zstd_pack(p, from, len, to, room);
	if (!lz4_takes(len, room))
		return 0;
	int n = p->level > 1 ? p->p_LZ4_compress_HC(from, to, (int)len, (int)room, p->level) :
	                       p->p_LZ4_compress_fast(from, to, (int)len, (int)room, 1);
	return n > 0 ? (size_t)n : 0;
}

bool unpack_block(struct pack *p, const void *from, size_t n, void *to, size_t len)
{
	if (p->codec == PACK_ZSTD)
		return zstd_unpack(p, from, n, to, len);
	return lz4_takes(n, len) && p->p_LZ4_decompress_safe(from, to, (int)n, (int)len) == (int)len;
}
