/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: a packed block of an image, past its checksum. The first byte says the
 * codec, the next three how long it is said to be unpacked, the rest is the block.
 * What it is unpacked into ends where memory ends: one byte more and we die. And what
 * is packed here must unpack to the same.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <crcore/error.h>
#include "core/image/image.h"
#include "core/image/pack.h"
#include "core/util/util.h"
#include "tests/fuzz/fuzz.h"

#define HEAD 4

static struct pack *pack_of(unsigned codec)
{
	static struct pack *packs[PACK_CODECS];
	struct crcore_error err = CRCORE_ERROR_INIT;

	if (!packs[codec] && pack_open((enum pack_codec)codec, 0, &packs[codec], &err) < 0)
		abort();
	return packs[codec];
}

/* The end of IMAGE_BLOCK bytes that are followed by none. */
static uint8_t *edge(void)
{
	static uint8_t *end;

	if (end)
		return end;
	uint8_t *p = mmap(NULL, IMAGE_BLOCK + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || mprotect(p, IMAGE_BLOCK, PROT_READ | PROT_WRITE))
		abort();
	return end = p + IMAGE_BLOCK;
}

static void there_and_back(struct pack *p, const uint8_t *data, size_t len)
{
	uint8_t *packed = malloc(len + 1);
	size_t n = pack_block(p, data, len, packed, len);

	if (n > len)
		abort();
	if (n && (!unpack_block(p, packed, n, edge() - len, len) || memcmp(edge() - len, data, len)))
		abort();
	free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len <= HEAD)
		return 0;
	struct pack *p = pack_of(1 + data[0] % (PACK_CODECS - 1));
	size_t said = (data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16) % (IMAGE_BLOCK + 1);

	if (said)
		unpack_block(p, data + HEAD, len - HEAD, edge() - said, said);
	there_and_back(p, data + HEAD, len - HEAD);
	return 0;
}

/* One of each codec, of text that repeats. */
_Bool fuzz_seed(unsigned i, uint8_t **ret, size_t *ret_len)
{
	uint8_t text[12000];

	if (i > 1)
		return false;
	for (size_t k = 0; k < sizeof(text); k++)
		text[k] = (uint8_t)("memory of a process "[k % 20] + k / 4000);
	*ret = malloc(sizeof(text) + HEAD);
	memcpy(*ret, (uint8_t[]){ (uint8_t)i, (uint8_t)sizeof(text), sizeof(text) >> 8, 0 }, HEAD);
	*ret_len = HEAD + pack_block(pack_of(1 + i), text, sizeof(text), *ret + HEAD, sizeof(text));
	return *ret_len > HEAD;
}
