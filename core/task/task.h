/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks as the coordinator sees them while it dumps: the runtime side (what is
 * seized, its stop, its region) around the record that will be saved
 * (core.proto). Restore reads the same records.
 */
#ifndef CRCORE_TASK_H
#define CRCORE_TASK_H

#include <crcore/plugin.h>
#include <sys/user.h>
#include "core/image/core.pb-c.h"
#include "core/program/program.h"
#include "core/task/alike.h"

struct thread {
	pid_t tid;
	struct task *task;
	bool seized, stopped;          /* by us; stopped: in a ptrace-stop */
	bool group_stop;               /* the stop is a job-control stop */
	int stop_signal;
	struct user_regs_struct regs;  /* at the stop, untouched: what release puts back */
	uint64_t sigmask;              /* at the stop */
	bool masked;                   /* more is blocked for now than in that */
	uint64_t slept_ns;             /* observe: how long it had slept in its system call */
	uint64_t sleeps;               /* observe: how often it had gone to sleep by then */
	int64_t restarted_nr;          /* what a restart_syscall continues, -1: unknown */
	bool filtered;                 /* a seccomp filter says which system calls it may make */
	prog *ask;                     /* its program, NULL: none */
	struct asked *asked;           /* what of it is where (ask.c) */
	struct program *program;       /* where that was placed (coordinator's mapping) */
	Crcore__Thread *rec;
};

struct proc_stat { /* /proc/PID/stat, proc(5) */
	pid_t pid, ppid, pgid, sid; char comm[32]; char state; int tty_nr; pid_t tty_pgrp;
	unsigned long flags; long nice; int exit_signal; unsigned long start_code, end_code,
	start_stack, start_data, end_data, start_brk, arg_start, arg_end, env_start, env_end;
	int exit_code; unsigned long long start_time; int num_threads;
};

struct task {
	struct crcore_task abi;        /* what plugins see */
	struct task *parent;           /* NULL: root */
	struct thread *threads;        /* nthreads of them, leader first */
	unsigned nthreads;
	int pidfd;
	int proc;                      /* O_PATH-less directory descriptor of /proc/PID */
	char *status;                  /* its file status, as of the last look; NULL: none yet */
	struct proc_stat stat;         /* as of the last task_refresh() */
	bool still;                    /* all its threads had stopped by then */
	bool leaderless;               /* its first thread has ended, others have not */
	bool alone;                    /* it had one thread only at the last task_refresh() */
	bool fresh;                    /* that was when it was opened */
	dev_t session_dev;             /* the device that drives its session, 0: none */
	uint32_t umask;                /* these two as of the last look at its status */
	uint64_t anon_kib;             /* anonymous memory that it has */
	struct alike alike;            /* what it has in common with others */
	struct mm *mm;                 /* NULL: zombie */
	Crcore__Sighand *sighand;      /* borrowed from the dump; maybe shared; NULL: zombie */
	Crcore__Task *rec;
	pid_t *tids;
	char comm[32];
};

/* One address space. Tasks with CLONE_VM share one. */
struct mm {
	uint32_t id;                   /* > 0, order of first appearance */
	struct task *task;             /* the first that has it: through it we look */
	struct inject *inject;         /* region in it, NULL: none */
	Crcore__Mm *rec;
	struct segment_use *uses;      /* of shared anonymous memory, of which rec->vmas tells ... */
	unsigned nuses;                /* ... no more than that it is */
	struct policy_question *policies; /* mappings that may have a memory policy of their own */
	unsigned npolicies;
};
struct policy_question { size_t vma; uint32_t mode, nodes, op; }; /* asked by these */
struct segment_use { uint64_t dev, ino; size_t vma; /* index in rec->vmas */ };

struct tree {
	struct task **tasks;           /* parents before children; [0] is the root */
	unsigned ntasks;
	struct mm **mms;
	unsigned nmms;
	uint32_t *slots;               /* places in tasks, + 1, by a hash of the pid */
	unsigned nslots;
};

/* -- proc.c: readers of /proc, no state ---------------------------------- */
int proc_open(pid_t pid, struct crcore_error *);                 /* /proc/PID, O_DIRECTORY */
/* Reads a whole proc file into a grown, NUL-terminated buffer. Caller frees. */
int proc_read(int proc, const char *name, char **ret, size_t *ret_len, struct crcore_error *);
/* The same of a file with the text of one thing, such as stat, status or comm. */
int proc_read_whole(int proc, const char *name, char **ret, size_t *ret_len, struct crcore_error *);
int proc_stat(int proc, struct proc_stat *ret, struct crcore_error *);
int proc_tids(int proc, pid_t pid, pid_t **ret, unsigned *ret_n, struct crcore_error *);
/* Adds the children that one thread has to v (CONFIG_PROC_CHILDREN). All of them only if the
 * thread and its children are stopped or still. */
int proc_children(int proc, pid_t tid, pid_t **v, unsigned *n, struct crcore_error *);
/* Value of "Key:\t..." in the text of status, NULL if absent. */
const char *proc_field(const char *status, const char *key);

/* -- freeze.c --------------------------------------------------------------- */
/* The tree below root without stopping it (check), or seized and stopped
 * whole (freeze). On failure everything is let go. */
int tree_look(pid_t root, struct tree *ret, struct crcore_error *);
/* pauses: some of the tree does not run, by a means that we know nothing of (NULL: all
 * of it runs). All of it is seized and told to stop before it is woken, so that it stops
 * before it runs; it rests when tree_freeze() returns. */
struct pauses {
	int (*wake)(void *arg, uint32_t how, struct crcore_error *); /* enum crcore_wake */
	int (*rest)(void *arg, struct crcore_error *);
	void *arg;
};
int tree_freeze(pid_t root, uint64_t timeout_ns, const struct pauses *, struct tree *ret,
                struct crcore_error *);
/* Puts registers and masks back where they were changed and detaches every
 * thread. A task that was stopped stays stopped. Never fails. pauses: what is killed
 * has to be woken for that; what is let go rests already. */
enum leave { LEAVE_RUNNING, LEAVE_STOPPED, LEAVE_KILLED };
/* The beginning of the end, which takes a while: tree_thaw(LEAVE_KILLED) waits for it. */
void tree_kill(const struct tree *);
void tree_thaw(struct tree *, enum leave, const struct pauses *);
void tree_free(struct tree *);
struct task *tree_find(const struct tree *, pid_t pid);

/* -- look.c -------------------------------------------------------------------- */
/* Calls fn for each of n tasks, by several threads: it may only look, and touch nothing but its
 * task. Returns what became of each (free() it), NULL: out of memory. */
struct finding { int r; struct crcore_error err; };
struct finding *tasks_look(struct task *const *, unsigned n,
                           int (*fn)(void *arg, struct task *, struct crcore_error *), void *arg);

/* -- inject.c: a region in a stopped task ----------------------------------- */
/* Bytes of a region that one program needs. */
size_t inject_need(const prog *);
/* A region with room for size bytes of programs, for the address space of one stopped
 * thread: not there yet. */
int inject_open(struct thread *, size_t size, struct inject **ret, struct crcore_error *);
/* Maps regions, each in its address space, with the interpreter in it, and the
 * coordinator's view of it: of all at once. */
int inject_map(struct inject *const *, unsigned n, struct crcore_error *);
/* Reserves room for a program in it, places and prepares it for the thread.
 * The thread's own registers and FPU state go into the return frame first. */
int inject_place(struct inject *, struct thread *, prog *, struct crcore_error *);
/* Sends all placed threads into their programs and waits until each is done
 * (timeout in ns). Then all are stopped again. The error names the operation. */
int inject_run(struct inject *const *, unsigned n, uint64_t timeout_ns, struct crcore_error *);
/* The same; meanwhile is called once for each region whose programs have been sent off. */
int inject_run_with(struct inject *const *, unsigned n, uint64_t timeout_ns,
                    void (*meanwhile)(void *arg, struct inject *), void *arg,
                    struct crcore_error *);
/* A system call that returns a descriptor, made by a stopped thread; fd: our duplicate of
 * it, or what it failed with. The task's own is closed again. All threads that share its
 * descriptor table must be stopped. Fails as a whole only if the run does. */
struct borrow { struct thread *thread; uint32_t nr; uint64_t args[6]; int fd; };
int inject_borrow(struct borrow *, unsigned n, uint64_t timeout_ns, struct crcore_error *);
/* Unmaps regions in their tasks, once no more programs are to run: nothing of them is left
 * there. Their results and answers can still be read until inject_close(). Never fails. */
void inject_leave(struct inject *const *, unsigned n);
/* The same, and frees it. Registers are as they were. NULL is fine. Never fails. */
void inject_close(struct inject *);
/* Address of a syscall instruction in the vdso at [start,end) of a task. */
int find_syscall_insn(pid_t tid, uint64_t vdso_start, uint64_t vdso_end, uint64_t *ret,
                      struct crcore_error *);

/* The robust mutex that dies with the calling thread; lock it in each region. */
int life_init(struct region *, struct crcore_error *);

/* -- regs.c: registers, FPU state, restarts ------------------------------- */
#ifndef PR_SET_MEMORY_MERGE /* linux/prctl.h of 6.4 */
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif
#ifndef PR_SET_MDWE /* of 6.3 */
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
/* Results that never leave the kernel but for a tracer (its include/linux/errno.h). */
enum { ERESTARTSYS = 512, ERESTARTNOINTR = 513, ERESTARTNOHAND = 514, ERESTART_RESTARTBLOCK = 516 };
int regs_read(struct thread *, struct crcore_error *);   /* regs, sigmask */
bool signal_is_due(const struct thread *); /* one is pending that it does not block */
/* Fills rec->regs, rec->resume from what the thread was doing (errno restarts,
 * rseq critical sections), rec->xstate, rec->sigmask, pending signals. */
int thread_save_state(struct thread *, struct crcore_error *);
/* Writes them into a stopped thread at the end of a restore. */
int thread_load_state(pid_t tid, const Crcore__Thread *, struct crcore_error *);

/* -- observe.c: what only shows before a thread is stopped ------------------- */
/* Notes for a thread that waits with a timeout how long it has waited, by
 * looking at the running tree; observations_apply() hands the notes over to the
 * threads of the frozen tree. Never fails: what is not known costs precision. */
struct observations;
struct observations *observe_waits(const struct tree *);
/* Of a tree that is stopped and will run on: what the kernel is going to restart. */
void observe_stopped(struct observations *, const struct tree *);
/* The same once more, shortly after; frees what was known before, and keeps what is not seen. */
struct observations *observe_again(const struct tree *, struct observations *before);
void observations_apply(struct observations *, struct tree *);
void observations_free(struct observations *);

/* -- restart.c: what the kernel continues for threads ------------------------- */
/* Threads of the frozen tree in a restart_syscall(2) of which that is not known: each is led to
 * its sleep in the kernel, which tells it, and back. What cannot be told stays unknown. */
int restarts_tell(struct tree *, const struct pauses *, struct crcore_error *);

#define NODES 1024 /* of memory: the most that a kernel can have */

/* -- collect.c: the task records ------------------------------------------- */
/* Everything readable from outside, which any thread of ours may do for a task at a time; what
 * only the one that traces it may; then adds operations for the rest ... */
int task_collect(struct task *, struct crcore_error *);
int task_collect_state(struct task *, struct crcore_error *);
/* Credentials by the text of /proc/PID/status; but securebits, which only the thread can tell. */
int creds_read(const char *status, Crcore__Creds *ret, struct crcore_error *);
struct witnesses; /* witness.h */
int task_ask(struct task *, struct witnesses *, struct crcore_error *); /* threads' ask programs */
/* ... and takes the answers. */
int task_answers(struct task *, struct crcore_error *);
void asked_free(struct asked *);                         /* NULL is fine */
/* -- ask_policy.c: the memory policies of single mappings, of them: as part of the above */
void policies_ask(struct mm *, prog *);
int policies_answers(struct mm *, const prog *, struct crcore_error *);
#endif
