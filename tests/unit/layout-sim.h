/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two simulations for unit-layout: histories of processes that map, write,
 * move, fork and exit, which end as records like those of a dump; and a machine
 * that carries out layouts and ends with address spaces to compare with them.
 */
#ifndef LAYOUT_SIM_H
#define LAYOUT_SIM_H

#include "core/memory/memory.h"
#include "core/util/util.h"

/* ---- histories (layout-history.c) -------------------------------------------------- */

enum { SIM_PAGES = 96, SIM_PROCS = 24, SIM_VDSO_PAGES = 2 };
#define SIM_BASE 0x400000ULL

enum sim_kind { SIM_ANON, SIM_NORESERVE, SIM_FILE_A, SIM_FILE_B, SIM_SEGMENT, SIM_VDSO, SIM_KINDS };

struct sim_page {
	bool mapped, guard;
	enum sim_kind kind;
	unsigned prot;
	uint32_t map;       /* which mmap made it */
	uint32_t pgoff;     /* what the page was mapped as first: kept by moves */
	uint32_t id;        /* which physical page; 0: none of its own */
};

struct sim_space { struct sim_page p[SIM_PAGES]; unsigned refs; };

struct sim_proc {
	unsigned pid, ppid; /* 0: root */
	unsigned seq;       /* order among the children of its parent */
	bool alive;
	struct sim_space *space;
};

struct sim {
	uint64_t random;
	struct sim_proc procs[SIM_PROCS];
	unsigned nprocs, next_id, next_map, next_seq;
	bool reparent;      /* also those with children may exit */
	bool merge;         /* neighbours may become one mapping */
	bool share_vm;      /* some children share the memory of their parent */
	/* records */
	Crcore__Task *tasks[SIM_PROCS]; unsigned ntasks;
	Crcore__Mm *mms[SIM_PROCS]; unsigned nmms;
	const struct sim_space *spaces[SIM_PROCS]; /* of mms */
	uint64_t pages_len;
};

uint32_t sim_random(struct sim *, uint32_t below);
void sim_begin(struct sim *, uint64_t seed);
struct sim_page *sim_at(struct sim_proc *, unsigned page);
void sim_map(struct sim *, struct sim_proc *, unsigned page, unsigned n, enum sim_kind);
void sim_unmap(struct sim_proc *, unsigned page, unsigned n);
void sim_write(struct sim *, struct sim_proc *, unsigned page, unsigned n);
void sim_move(struct sim_proc *, unsigned from, unsigned to, unsigned n);
struct sim_proc *sim_fork(struct sim *, struct sim_proc *, bool share_vm);
void sim_exec(struct sim *, struct sim_proc *);
void sim_exit(struct sim *, struct sim_proc *);
void sim_random_step(struct sim *);
/* Makes the records of what there is. */
void sim_records(struct sim *);
void sim_end(struct sim *);

/* ---- the machine (layout-machine.c) -------------------------------------------------- */

struct outcome {
	uint64_t lost;    /* pages that are copies though they were shared */
	unsigned splits;  /* mappings that are of several parts though they were one */
	unsigned ops;     /* operations taken */
};

/* Carries out the layouts and compares. Returns NULL or what is wrong. */
const char *machine_run(const struct sim *, const struct layouts *, struct outcome *ret);
#endif
