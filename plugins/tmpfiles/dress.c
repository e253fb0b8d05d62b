/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore: owner, mode, extended attributes (access lists are two of them) and
 * times, in the order in which they stick. All by a descriptor, which may be
 * O_PATH, by way of its link in /proc.
 */
#include "tmpfiles.h"

#include <sys/xattr.h>

int dress(int fd, struct archive_entry *e, mode_t type, struct crcore_error *err)
{
	const struct timespec times[2] = {
		{ .tv_sec = archive_entry_atime(e), .tv_nsec = archive_entry_atime_nsec(e) },
		{ .tv_sec = archive_entry_mtime(e), .tv_nsec = archive_entry_mtime_nsec(e) },
	};
	const char *name;
	const void *value;
	size_t len;
	char at[40];

	place_link(fd, at);
	const uid_t uid = (uid_t)archive_entry_uid(e);
	const gid_t gid = (gid_t)archive_entry_gid(e);
	if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
		return crcore_fail(err, -errno, "cannot give it its owner: %s", strerror(errno));
	if (type != S_IFLNK) {
		/* What it has from the directory that it is in. */
		removexattr(at, "system.posix_acl_access");
		removexattr(at, "system.posix_acl_default");
		if (chmod(at, archive_entry_perm(e) & 07777) < 0)
			return crcore_fail(err, -errno, "cannot give it its mode: %s", strerror(errno));
	}
	archive_entry_xattr_reset(e);
	while (archive_entry_xattr_next(e, &name, &value, &len) == ARCHIVE_OK)
		if (setxattr(at, name, value, len, 0) < 0)
			return crcore_fail(err, -errno, "cannot set the extended attribute %.60s: %s", name,
			                   strerror(errno));
	if (utimensat(AT_FDCWD, at, times, 0) < 0)
		return crcore_fail(err, -errno, "cannot give it its times: %s", strerror(errno));
	return 0;
}
