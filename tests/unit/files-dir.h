/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the plugin files share: a directory, files in it, and an object's way back. */
#ifndef FILES_DIR_H
#define FILES_DIR_H

#include "fake-host.h"

static const char *so;
static char dir[] = "/tmp/unit-files-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[4][PATH_MAX];
	static int turn;
	char *p = path[turn++ % 4];

	snprintf(p, PATH_MAX, "%s/%s", dir, name);
	return p;
}

static int make(const char *name, const char *text, int flags)
{
	int fd = open(in_dir(name), O_RDWR | O_CREAT | O_TRUNC, 0640);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	fd = open(in_dir(name), flags);
	assert_true(fd >= 0);
	return fd;
}

/* Saves the object, restores it, returns the new descriptor. */
static int again(struct fake *f, const struct crcore_object *o)
{
	int r = fake_save(f);

	if (!r) {
		fake_reopen(f);
		r = fake_load(f);
	}
	return r ? r : fake_create(f, o->id);
}

static struct fake *begin(void)
{
	struct fake *f = fake_new(so);

	fake_open(f);
	return f;
}

static const char *link_of(int fd)
{
	static char link[PATH_MAX];
	char path[40];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link) - 1);
	link[n < 0 ? 0 : n] = '\0';
	return link;
}

static int clean(void **state)
{
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

#endif
