/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: a stream, as restore --stream takes it in. What is refused says why and
 * leaves no folder behind; what is taken is a folder of files with names as in an image.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "core/image/image_priv.h"
#include "core/image/tar.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/sample-image.h"

static const char *folder(void)
{
	static char name[64];

	if (!name[0])
		snprintf(name, sizeof(name), "/tmp/fuzz-stream.%d", getpid());
	return name;
}

/* The sums of headers are made right: else nothing that is changed would pass. */
static void correct_sums(uint8_t *p, size_t len)
{
	for (size_t at = 0; at + TAR_BLOCK <= len; at += TAR_BLOCK) {
		unsigned sum = 8 * ' ';
		char text[8];
		if (memcmp(p + at + 257, "ustar", 5))
			continue;
		for (size_t i = 0; i < TAR_BLOCK; i++)
			sum += i >= 148 && i < 156 ? 0 : p[at + i];
		snprintf(text, sizeof(text), "%06o", sum);
		memcpy(p + at + 148, text, 7);
		p[at + 155] = ' ';
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image_place *place;
	bool made = false;
	int fd = memfd_create("stream", MFD_CLOEXEC);
	uint8_t *copy = malloc(len + 1);

	memcpy(copy, data, len);
	correct_sums(copy, len);
	if (fd < 0 || write(fd, copy, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET))
		abort();
	int r = image_receive(fd, folder(), NULL, &made, &err);
	if (r < 0 && (!err.code || !err.message[0] || !err.object[0] || access(folder(), F_OK) == 0))
		abort();
	if (r == 0) {
		if (!made || image_place_open(folder(), made, &place, &err) < 0)
			abort();
		image_place_remove(place);
		image_place_close(place);
		if (access(folder(), F_OK) == 0)
			abort();
	}
	close(fd);
	free(copy);
	return 0;
}

/* A stream as it is sent, and an archive as others make it. */
_Bool fuzz_seed(unsigned i, uint8_t **ret, size_t *ret_len)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	Crcore__Manifest m;
	char page[PAGE] = "page";

	if (i > 1)
		return false;
	*ret = calloc(1, 1u << 16);
	if (i == 1) {
		tar_put(*ret, "./manifest", 10, 0);
		tar_put(*ret + 1024, "./core.task.img", 0, 0);
		tar_put(*ret + 1536, "pages-1.bin", 600, 0);
		*ret_len = 3072 + 1024;
		return true;
	}
	int fd = memfd_create("seed", MFD_CLOEXEC);
	if (image_create_stream(fd, NULL, &img, &err) || image_pages_begin(img, 1, &err) ||
	    image_pages_block(img, 0, 0, page, sizeof(page), &err))
		abort();
	sample_manifest(&m);
	if (image_seal(img, &m, &err))
		abort();
	image_close(img);
	*ret_len = (size_t)lseek(fd, 0, SEEK_END);
	if (pread(fd, *ret, *ret_len, 0) != (ssize_t)*ret_len)
		abort();
	close(fd);
	return true;
}
