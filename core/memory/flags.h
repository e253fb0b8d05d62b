/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks and advice of mappings without a look at their pages. Of all that /proc tells only
 * smaps has them, and that visits every present page (22 ms for a gigabyte). A few
 * instructions of ours, run by the kernel for each mapping of a task (flags_bpf.c), give the
 * word in which it keeps them. What a bit of that word means is no promise of the kernel's:
 * it is learned each time from mappings of our own, which smaps explains (flags_learn.c).
 * Where that fails, or a bit was not learned, smaps is read: whoever asks here gets an
 * exact answer or none.
 */
#ifndef CRCORE_FLAGS_H
#define CRCORE_FLAGS_H

#include "core/memory/vmas.h"

struct known;
struct task;

struct flag_word { uint64_t start, end, bits, policy; /* not 0: one of its own (mbind(2)) */ };

/* What the bits mean. */
struct flag_bits {
	uint64_t known;        /* those that were learned */
	uint32_t meaning[64];  /* enum vm_flag; 0: none that matters here */
};

struct flags {
	int types;             /* the kernel's own description of its types, -1: none */
	int prog;              /* -1: not prepared, or not to be had */
	struct flag_bits bits;
};

/* -- vma_list.c -- */
struct vmas_how;
/* Reads the mappings of a task. Flags by how->flags, if they are prepared, or else by what is
 * known of them, or else by smaps; or, if it is to be quick, none. */
int vma_list_read(struct vma_list *, const struct task *, const struct vmas_how *how,
                  struct crcore_error *);
void vma_list_free(struct vma_list *);

/* -- flags_bpf.c: the words -- */
/* A program for flags_words(). -ENOTSUP or another reason why there is none. */
int flags_program(int types, struct crcore_error *);
/* Those of all mappings of a process, in order. Caller frees. */
int flags_words(int program, pid_t, struct flag_word **ret, size_t *ret_n, struct crcore_error *);

/* A descriptor of memory that the kernel maps page by page: a sample. < 0: none. */
int flags_kernel_page(void);

/* -- flags_learn.c: their meaning -- */
/* Learns it from mappings of which both are known. -ENOTSUP: a flag is no bit. */
int flags_learn(struct flag_bits *, const struct flag_word *, const uint32_t *flags, size_t n);
/* Fills it by mappings that are made for that and unmapped again. */
int flags_calibrate(struct flags *, struct crcore_error *);
/* The flags of a list of mappings (without) by their words. -EAGAIN: they do not belong
 * together; -ENOTSUP: there is a bit that was not learned. */
int flags_complete(const struct flag_bits *, const struct flag_word *, size_t nwords,
                   struct vma_text *, size_t n);
#endif
