/* SPDX-License-Identifier: Apache-2.0 */
/* vvar and vdso, as they lie in an address space. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "core/task/machine.h"
#include "core/util/util.h"

int specials_find(struct specials *ret, struct crcore_error *err)
{
	cleanup_file FILE *f = fopen("/proc/self/maps", "re");
	unsigned long start, end;
	char line[512];

	ret->n = 0;
	if (!f)
		return crcore_fail(err, -errno, "cannot open /proc/self/maps: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		bool vdso = strstr(line, "[vdso]");
		if ((!vdso && !strstr(line, "[vvar")) || sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		if (ret->n == SPECIALS_MAX)
			return crcore_fail(err, -ENOTSUP, "this kernel has an unknown sort of vvar");
		ret->v[ret->n++] = (struct special){ start, end, vdso };
	}
	return 0;
}

static bool is_special(const Crcore__Vma *v)
{
	return v->backing == CRCORE__BACKING__VDSO || v->backing == CRCORE__BACKING__VVAR;
}

/* Of one sort and size. Two that are the same come in the order in which the kernel maps them. */
static bool same(const struct special *s, const Crcore__Vma *v)
{
	return v->end - v->start == s->end - s->start &&
	       (v->backing == CRCORE__BACKING__VDSO) == s->vdso;
}

bool specials_match(const struct specials *s, const Crcore__Mm *mm,
                    const Crcore__Vma *ret[SPECIALS_MAX])
{
	unsigned i = 0;

	for (unsigned k = 0; k < SPECIALS_MAX; k++)
		ret[k] = NULL;
	for (size_t k = 0; k < mm->n_vmas; k++) {
		const Crcore__Vma *v = mm->vmas[k];
		if (!is_special(v))
			continue;
		while (i < s->n && !same(&s->v[i], v))
			i++;
		if (i == s->n)
			return false;
		ret[i++] = v;
	}
	return true;
}
