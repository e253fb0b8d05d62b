/* SPDX-License-Identifier: Apache-2.0 */
/* See lib.h. */
#include "lib.h"
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define SONAME "libarchive.so.13"

struct lib lib;

int lib_need(struct crcore_error *err)
{
#define NAMED(f) { #f, offsetof(struct lib, p_##f) },
	static const struct { const char *name; size_t at; } table[] = { LIB_FUNCTIONS(NAMED) };
	void *dl = lib.p_archive_read_new ? NULL : dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);

	if (lib.p_archive_read_new)
		return 0;
	for (size_t i = 0; dl && i < sizeof(table) / sizeof(*table); i++) {
		void *f = dlsym(dl, table[i].name);
		if (!f) {
			memset(&lib, 0, sizeof(lib));
			dlclose(dl);
			dl = NULL;
			break;
		}
		memcpy((char *)&lib + table[i].at, &f, sizeof(f));
	}
	if (dl)
		return 0; /* it stays as long as we do */
	crcore_advise(err, "install libarchive13, or leave files out (--plugins -tmpfiles)");
	return crcore_fail(err, -ENOENT, "cannot load " SONAME ", which keeps the files");
}
