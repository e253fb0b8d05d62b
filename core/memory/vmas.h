/* SPDX-License-Identifier: Apache-2.0 */
/* The text of /proc/PID/smaps or maps and what its mappings are: pure, for vmas.c and tests. */
#ifndef CRCORE_VMAS_H
#define CRCORE_VMAS_H

#include <stdbool.h>
#include <sys/types.h>
#include "core/image/core.pb-c.h"
#include <crcore/error.h>

/* One bit per two-letter code of VmFlags (proc_pid_smaps(5)) that matters here. */
enum vm_flag {
	VMF_GROWS_DOWN = 1 << 0, VMF_PFN = 1 << 1, VMF_LOCKED = 1 << 2, VMF_LOCK_ONFAULT = 1 << 3,
	VMF_IO = 1 << 4, VMF_MIXED = 1 << 5, VMF_SEQUENTIAL = 1 << 6, VMF_RANDOM = 1 << 7,
	VMF_DONTFORK = 1 << 8, VMF_NORESERVE = 1 << 9, VMF_HUGETLB = 1 << 10, VMF_SYNC = 1 << 11,
	VMF_WIPEONFORK = 1 << 12, VMF_DONTDUMP = 1 << 13, VMF_HUGEPAGE = 1 << 14,
	VMF_NOHUGEPAGE = 1 << 15, VMF_MERGEABLE = 1 << 16, VMF_UFFD = 1 << 17,
	VMF_SHADOW_STACK = 1 << 18, VMF_SEALED = 1 << 19, VMF_DROPPABLE = 1 << 20,
	VMF_MAY_WRITE = 1 << 21, VMF_ACCOUNTED = 1 << 22,
	VMF_WRITES = 1 << 23, /* userfaultfd learns of writes, maybe only afterwards */
	VMF_POLICY = 1 << 24, /* not from smaps: it may have a memory policy of its own */
};

/* One entry of smaps as it stands there. */
struct vma_text {
	uint64_t start, end, offset, dev, ino;
	unsigned prot;         /* PROT_* */
	bool shared;           /* MAP_SHARED, read-only ones included */
	const char *path;      /* borrowed, not terminated */
	size_t path_len;
	uint32_t flags;        /* enum vm_flag */
	uint32_t page_kb;      /* KernelPageSize */
	uint32_t protection_key;
	bool has_flags;        /* false: the kernel does not tell VmFlags */
};

/* All of a process. */
struct vma_list {
	char *text;            /* the entries' paths are in it */
	struct vma_text *v; size_t n;
	bool no_flags;         /* they were left out (struct vmas_how, quick) */
};

/* Code and data that the kernel gives to each process: [vdso] and the like. Nobody cares for
 * their flags. */
bool vma_is_kernels(const struct vma_text *);
static inline bool vma_is_special(const Crcore__Vma *v) /* the same of a record */
{
	return v->backing == CRCORE__BACKING__VDSO || v->backing == CRCORE__BACKING__VVAR ||
	       v->backing == CRCORE__BACKING__VSYSCALL;
}

/* What a mapping is, beyond what its record says. */
enum vma_sort { VMA_PLAIN, VMA_FILE };

/* Reads one entry at *at, moves *at behind it. Returns 1, 0 at the end of the
 * text, -EBADMSG if it is not understood. */
int vma_parse(const char **at, const char *end, struct vma_text *ret);

/* Fills rec from an entry; refuses, by name, what cannot be saved. shmem_dev:
 * the device number of the kernel's file system for shared memory. Returns enum vma_sort. */
int vma_classify(const struct vma_text *, uint64_t shmem_dev, Crcore__Vma *rec,
                 struct crcore_error *);
#endif
