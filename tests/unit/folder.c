/* SPDX-License-Identifier: Apache-2.0 */
/* See folder.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include "core/util/util.h"
#include "tests/lib/sample-image.h"
#include "tests/unit/folder.h"

char folder_top[] = "/tmp/unit-folder.XXXXXX", folder[64];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	remove(path);
	return 0;
}

void folder_remove(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Also if the test is killed: a process of its own waits for its end. */
static int remove_in_the_end(void)
{
	int ends[2];
	char c;

	if (pipe(ends))
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		close(ends[1]);
		if (read(ends[0], &c, 1) == 0)
			folder_remove(folder_top);
		_exit(0);
	}
	close(ends[0]);
	return pid < 0 ? -1 : 0;
}

int folder_begin(void **state)
{
	if (!mkdtemp(folder_top))
		return -1;
	snprintf(folder, sizeof(folder), "%s/img", folder_top);
	return remove_in_the_end();
}

int folder_clear(void **state)
{
	folder_remove(folder);
	return 0;
}

int folder_end(void **state)
{
	folder_remove(folder);
	return rmdir(folder_top);
}

const char *folder_file(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

bool folder_has(const char *name)
{
	return access(folder_file(name), F_OK) == 0;
}

void folder_put(const char *name, const void *bytes, size_t len)
{
	int fd = open(folder_file(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

unsigned char *folder_get(const char *name, size_t *ret_len)
{
	int fd = open(folder_file(name), O_RDONLY);
	struct stat st;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	unsigned char *p = malloc((size_t)st.st_size + 1);
	assert_int_equal(read(fd, p, (size_t)st.st_size), st.st_size);
	close(fd);
	*ret_len = (size_t)st.st_size;
	return p;
}

void folder_sample(void)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct core_records c;

	sample_records(&c);
	if (sample_write(folder, &c, &err))
		fail_msg("%s: %s", err.object, err.message);
	core_records_free(&c);
}

/* Opens and loads all; 0 or the errno of the refusal, which must say something. */
int folder_try(void)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	struct core_records c;
	int r = image_open(folder, true, &img, &err);

	if (r == 0) {
		r = core_records_load(img, &c, &err);
		if (r == 0)
			core_records_free(&c);
		image_close(img);
	}
	if (r < 0) {
		assert_int_equal(err.code, r);
		assert_true(err.message[0] && err.object[0]);
	}
	return r;
}
