/* SPDX-License-Identifier: Apache-2.0 */
/* Small helpers of the plugin. */
#include "files.h"

int files_reopen(int fd, int flags)
{
	char path[40];
	int ret;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ret = open(path, flags | O_CLOEXEC | O_NOCTTY);
	return ret < 0 ? -errno : ret;
}

void files_parent(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		slash[slash == path] = '\0';
}

unsigned files_mount_id(int dirfd, const char *path, int flags)
{
	struct statx stx;

	if (statx(dirfd, path, flags | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) < 0)
		return 0;
	return stx.stx_mask & STATX_MNT_ID ? (unsigned)stx.stx_mnt_id : 0;
}
