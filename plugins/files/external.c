/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What belongs to somebody outside the tree, of whatever sort: the user names it
 * at the dump (--external), nothing of it is saved, and the restore is given
 * another descriptor in its place (--inherit-fd). And descriptors of crcore in
 * the place of files.
 */
#include "files.h"

#include <fnmatch.h>

/* -- dump ------------------------------------------------------------------------------- */

/* As others write it: numbers in hexadecimal where they do. */
static bool is_named(const char *name, const struct crcore_object *obj)
{
	unsigned long long a = 0, b = 0;
	int end = 0;
	char text[64];

	if (sscanf(name, "file[%llx:%llx]%n", &a, &b, &end) == 2 && end && !name[end])
		return obj->mnt_id == a && obj->st.st_ino == b;
	if (sscanf(name, "tty[%llx:%llx]%n", &a, &b, &end) == 2 && end && !name[end])
		return S_ISCHR(obj->st.st_mode) && obj->st.st_rdev == a && obj->st.st_dev == b;
	for (unsigned i = 0; i < 3; i++) {
		static const char *const sorts[][2] = { { "pipe", "pipe" }, { "socket", "socket" },
		                                        { "unix", "socket" } };
		snprintf(text, sizeof(text), "%s[%llu]", sorts[i][0], (unsigned long long)obj->st.st_ino);
		size_t len = strlen(sorts[i][1]);
		if (!strcmp(name, text) && !strncmp(obj->link, sorts[i][1], len) && obj->link[len] == ':')
			return true;
	}
	return !strcmp(name, obj->link) || (name[0] == '/' && fnmatch(name, obj->link, 0) == 0);
}

const char *files_external(const struct files *f, const struct crcore_object *obj)
{
	for (const char *const *p = f->external; p && *p && obj->class_ == CRCORE_DESCRIPTION; p++)
		if (is_named(*p, obj))
			return *p;
	return NULL;
}

int files_save_external(struct files *f, const struct crcore_object *obj, const char *name,
                        struct crcore_error *err)
{
	Files__File rec = FILES__FILE__INIT;

	rec.id = obj->id;
	rec.kind = FILES__KIND__EXTERNAL;
	rec.path = (char *)obj->link;
	rec.external = (char *)name;
	rec.mode = obj->st.st_mode;
	rec.pid = (uint32_t)obj->pid;
	rec.fd = (uint32_t)obj->fd;
	return record_put(f->host, f->ctx, "file", &rec.base, err);
}

/* -- restore ---------------------------------------------------------------------------- */

/* As others write it, without the first slash, too. */
static bool means(const char *resource, const Files__File *rec)
{
	return !strcmp(resource, rec->path) ||
	       (rec->path[0] == '/' && !strcmp(resource, rec->path + 1)) ||
	       (rec->external[0] && !strcmp(resource, rec->external));
}

int files_inherited(const struct files *f, const Files__File *rec)
{
	for (const char *const *p = f->inherit; p && *p; p++) {
		int fd = -1, len = 0;
		if (sscanf(*p, "fd[%d]:%n", &fd, &len) == 1 && len && means(*p + len, rec))
			return rec->use ? -1 : fd;
	}
	return -1;
}

int files_check_inherited(const struct files *f, struct crcore_error *err)
{
	for (const char *const *p = f->inherit; p && *p; p++) {
		int fd = -1, len = 0;
		if (sscanf(*p, "fd[%d]:%n", &fd, &len) != 1 || !len || !(*p)[len]) {
			crcore_advise(err, "write it as fd[5]:/var/log/x.log");
			return crcore_fail(err, -EINVAL, "inherit-fd: cannot read \"%s\"", *p);
		}
		if (fcntl(fd, F_GETFD) < 0) {
			crcore_advise(err, "open it for crcore, e.g. crcore restore ... %d>>%s", fd, *p + len);
			return crcore_fail(err, -EBADF, "inherit-fd: crcore has no descriptor %d", fd);
		}
	}
	return 0;
}

int files_check_external(const Files__File *rec, struct crcore_error *err)
{
	crcore_advise(err, "give crcore another in its place: --inherit-fd 'fd[5]:%s' 5<>...",
	              rec->external);
	return crcore_fail(err, -ENOENT, "it stayed outside at the dump (--external), and nothing is "
	                   "there in its place");
}
