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

char *files_read_all(const char *path, unsigned *ret_reads)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t room = 65536, len = 0;
	char *text = fd < 0 ? NULL : malloc(room);

	*ret_reads = 0;
	while (text) {
		ssize_t n = read(fd, text + len, room - 1 - len);
		if (n <= 0) {
			text[len] = '\0';
			if (n == 0)
				return text;
			break;
		}
		len += (size_t)n;
		++*ret_reads;
		if (len + 1 < room)
			continue;
		void *more = realloc(text, room *= 2);
		if (!more)
			break;
		text = more;
	}
	free(text);
	return NULL;
}
