/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PAGEMAP_SCAN ioctl of /proc/PID/pagemap (Linux 6.7) for systems whose
 * headers are older. Layout and values: include/uapi/linux/fs.h of the kernel,
 * Documentation/admin-guide/mm/pagemap.rst.
 */
#ifndef CRCORE_PAGEMAP_SCAN_H
#define CRCORE_PAGEMAP_SCAN_H

#include <linux/fs.h>
#include <stdint.h>
#include <sys/ioctl.h>

#ifndef PAGEMAP_SCAN
#define PAGE_IS_WPALLOWED (1 << 0)
#define PAGE_IS_WRITTEN (1 << 1)
#define PAGE_IS_FILE (1 << 2)
#define PAGE_IS_PRESENT (1 << 3)
#define PAGE_IS_SWAPPED (1 << 4)
#define PAGE_IS_PFNZERO (1 << 5)
#define PAGE_IS_HUGE (1 << 6)

struct page_region {
	uint64_t start, end, categories;
};

struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PM_SCAN_WP_MATCHING (1 << 0)
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#endif

#ifndef PAGE_IS_GUARD /* Linux 6.15 */
#define PAGE_IS_GUARD (1 << 8)
#endif

/* Bits of an entry of /proc/PID/pagemap. */
#define PM_PRESENT (1ull << 63)
#define PM_SWAPPED (1ull << 62)
#define PM_FILE (1ull << 61)      /* of a file, or of shared memory */
#define PM_GUARD (1ull << 58)     /* MADV_GUARD_INSTALL */
#define PM_EXCLUSIVE (1ull << 56) /* mapped nowhere else */
#define PM_FRAME ((1ull << 55) - 1)

#endif
