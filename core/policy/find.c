/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the name of a policy to its file. The source tree is looked at only by
 * a crcore that runs from the build tree of that source: an installed one must
 * never take its policy from a folder that happens to be left over.
 */
#include "core/policy/internal.h"
#include "core/util/util.h"
#include <limits.h>

/* True if this process runs a file of the build tree (but not one installed below it). */
static bool in_build_tree(void)
{
	static const char *const parts[] = { CRCORE_BUILD_ROOT "/core/", CRCORE_BUILD_ROOT "/tests/" };
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n < 0)
		return false;
	exe[n] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (!strncmp(exe, parts[i], strlen(parts[i])))
			return true;
	return false;
}

static bool is_path(const char *name)
{
	size_t n = strlen(name);

	return strchr(name, '/') || (n > 5 && !strcmp(name + n - 5, ".yaml"));
}

int policy_find(const char *name, char *ret_path, size_t len, struct crcore_error *err)
{
	const char *dirs[] = {
		secure_getenv("CRCORE_CONFDIR"),
		in_build_tree() ? CRCORE_SOURCE_CONFDIR : NULL,
		CRCORE_CONFDIR,
	};
	char looked[256] = "";
	size_t used = 0;

	if (is_path(name)) {
		if ((size_t)snprintf(ret_path, len, "%s", name) < len)
			return 0;
		crcore_fail_at(err, -1, -1, "%s", name);
		return crcore_fail(err, -ENAMETOOLONG, "the path of the policy is too long");
	}
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		if (!dirs[i] || !*dirs[i])
			continue;
		if ((size_t)snprintf(ret_path, len, "%s/%s.yaml", dirs[i], name) < len &&
		    access(ret_path, F_OK) == 0)
			return 0;
		if (used < sizeof(looked))
			used += (size_t)snprintf(looked + used, sizeof(looked) - used, "%s%s",
			                         used ? ", " : "", dirs[i]);
	}
	crcore_advise(err, "give the path of a file, or put %s.yaml into a folder of policies", name);
	return crcore_fail(err, -ENOENT, "there is no policy '%s' in %s", name, looked);
}
