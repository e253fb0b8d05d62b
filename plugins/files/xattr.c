/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes and access lists of files whose contents are in the image.
 * Labels of security modules are not taken: the machine gives new files its own.
 */
#include "files.h"

#include <sys/xattr.h>

#define LIST_MAX 65536
#define VALUE_MAX 65536

static bool is_kept(const char *name)
{
	return !strncmp(name, "user.", 5) || !strncmp(name, "trusted.", 8) ||
	       !strncmp(name, "system.posix_acl_", 17) || !strcmp(name, "security.capability");
}

static int add(Files__Ghost *g, const char *name, const void *value, size_t len)
{
	Files__Xattr *x = malloc(sizeof(*x));
	Files__Xattr **more = realloc(g->xattrs, (g->n_xattrs + 1) * sizeof(*more));

	if (more)
		g->xattrs = more;
	if (!x || !more) {
		free(x);
		return -ENOMEM;
	}
	files__xattr__init(x);
	g->xattrs[g->n_xattrs++] = x;
	x->name = strdup(name);
	x->value.data = malloc(len ? len : 1);
	if (!x->name || !x->value.data)
		return -ENOMEM;
	memcpy(x->value.data, value, len);
	x->value.len = len;
	return 0;
}

int xattrs_read(int fd, Files__Ghost *g, struct crcore_error *err)
{
	cleanup_free char *list = malloc(LIST_MAX), *value = malloc(VALUE_MAX);
	char path[40];

	if (!list || !value)
		return crcore_no_memory(err);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* it may be O_PATH */
	ssize_t n = listxattr(path, list, LIST_MAX);
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(list + at) + 1) {
		const char *name = list + at;
		ssize_t len = is_kept(name) ? getxattr(path, name, value, VALUE_MAX) : -1;
		if (len >= 0 && add(g, name, value, (size_t)len) < 0)
			return crcore_no_memory(err);
		if (len < 0 && is_kept(name) && errno != ENODATA)
			return crcore_fail(err, -errno, "cannot read its attribute %s: %s", name,
			                   strerror(errno));
	}
	return 0;
}

void xattrs_clear(Files__Ghost *g)
{
	for (size_t i = 0; i < g->n_xattrs; i++) {
		free(g->xattrs[i]->name);
		free(g->xattrs[i]->value.data);
		free(g->xattrs[i]);
	}
	free(g->xattrs);
	g->xattrs = NULL;
	g->n_xattrs = 0;
}

int xattrs_write(int fd, const Files__Ghost *g, struct crcore_error *err)
{
	for (size_t i = 0; i < g->n_xattrs; i++) {
		const Files__Xattr *x = g->xattrs[i];
		if (!is_kept(x->name))
			return crcore_fail(err, -EBADMSG, "an attribute of it makes no sense");
		if (fsetxattr(fd, x->name, x->value.data, x->value.len, 0) < 0)
			return crcore_fail(err, -errno, "cannot give it its attribute %s: %s", x->name,
			                   strerror(errno));
	}
	return 0;
}
