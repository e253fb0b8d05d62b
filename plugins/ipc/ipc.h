/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "ipc": System V shared memory, semaphores and message queues, and
 * those of POSIX.
 *
 *   ipc.c       the plugin: options, sections, hooks
 *   list.c      what there is in the IPC namespace
 *   scope.c     dump: what of that is the tree's, and who else uses it
 *   shm.c       dump: segments;  attach.c: restore, and how a task maps them
 *   sem.c       semaphores;  undo.c, redo.c: what a process will undo at its end
 *   msg.c       message queues of System V
 *   queue.c     POSIX message queues: dump;  open.c: restore
 *   posix.c     POSIX shared memory and semaphores: dump;  remake.c: restore
 *   limit.c     limits of a namespace
 *   load.c      restore: records, and what is in their way
 *   make.c      restore: objects under their old ids, made by whom they were made
 *   wills.c     restore: what is made is removed should crcore be killed
 *
 * These objects belong to a namespace and not to a process: they are there
 * before the first task of a restored tree and stay when it ends. Only mappings
 * of segments, and descriptors of POSIX queues, are objects as the core has them.
 */
#ifndef CRCORE_PLUGIN_IPC_H
#define CRCORE_PLUGIN_IPC_H

#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>
#include "ipc.pb-c.h"
#include "plugins/args.h"
#include "plugins/record.h"

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif
#ifndef SHM_DEST
#define SHM_DEST 01000
#endif
#ifndef SHM_LOCKED
#define SHM_LOCKED 02000
#endif
#define MEMORY_FOLDER "/dev/shm"
#define LARGEFILE 0100000 /* O_LARGEFILE, 0 for programs: set by open(2), not by mq_open(3) */

union semun { int val; struct semid_ds *buf; unsigned short *array; struct seminfo *info; };

enum sort { SHM, SEM, MSG, NSORTS };
extern const char *const sort_names[NSORTS]; /* "shm", as in the names of sysctls */

enum scope { SCOPE_AUTO, SCOPE_USED, SCOPE_ALL };
enum shared { SHARED_REFUSE, SHARED_KEEP };
enum existing { EXISTING_REPLACE, EXISTING_REFUSE };

/* What the kernel says of one object. */
struct entry {
	int id;
	uint32_t key, uid, gid, cuid, cgid, mode;
	uint64_t size;    /* bytes; semaphores; limit of bytes */
	uint64_t nattch;  /* SHM */
	pid_t pids[2];    /* SHM: creator, last to attach or detach; MSG: last sender, receiver */
	bool operated;    /* SEM: semop(2) was done */
};

struct list { struct entry *v; unsigned n; };

/* Restore: an object to be made. */
struct item {
	enum sort sort;
	const Ipc__Perm *perm;
	bool made;
};

struct shm { struct item item; Ipc__Shm *rec; int fd; };
struct attach { Ipc__Attach *rec; struct shm *shm; };
struct sem { struct item item; Ipc__Sem *rec; };
struct msg { struct item item; Ipc__Msg *rec; Ipc__Message **v; unsigned n; };
struct queue {
	Ipc__Queue *rec;
	Ipc__QueueMessage **v; unsigned n;
	int fd;
	const char *made;  /* its name, as long as a failure must remove it */
	char spare[40];    /* a name for one that has none, if its old one is taken */
};
struct open { Ipc__Open *rec; int fd; }; /* a description of a queue */
struct memory {
	Ipc__Memory *rec;
	int fd;
	char made[PATH_MAX]; /* its name, as long as a failure must remove it */
};
struct memory_use { Ipc__MemoryUse *rec; int fd; };
struct limit { Ipc__Limit *rec; char *before; bool late; };

struct ipc {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	enum scope scope;
	enum shared shared;
	enum existing existing;
	const char *const *include;
	bool posix_leave;         /* POSIX shared memory is somebody else's */
	bool notify_zero;         /* the unknown value of a notification is 0 */

	/* dump */
	enum { OWN_UNKNOWN, OWN_NO, OWN_YES } own; /* is the namespace the tree's? see scope_all() */
	struct wait *waits; unsigned nwaits; /* calls that tasks sleep in */
	bool waits_known;
	int *attached; unsigned nattached; /* ids of segments whose contents are handed over */
	struct undo_task *undo; unsigned nundo;
	struct undo_set *sets; unsigned nsets;
	struct drained **drained; unsigned ndrained; /* POSIX queues */
	ino_t *saved; unsigned nsaved;               /* the same: the number is the place + 1 */
	struct memory_saved *memory_saved; unsigned nmemory_saved;
	struct user *users; unsigned nusers;         /* of files below MEMORY_FOLDER, not of the tree */

	/* restore */
	struct shm **shm; unsigned nshm;
	struct attach *attach; unsigned nattach;
	struct sem **sem; unsigned nsem;
	struct msg **msg; unsigned nmsg;
	Ipc__Undo **undos; unsigned nundos;
	struct queue **queue; unsigned nqueue;
	struct open *open; unsigned nopen;
	struct memory **memory; unsigned nmemory;
	struct memory_use *uses; unsigned nuses;
	struct limit *limit; unsigned nlimit;
};

/* list.c */
int ipc_list(enum sort, struct list *ret, struct crcore_error *);
bool ipc_stat(enum sort, int id, struct entry *ret);
const struct entry *list_find(const struct list *, int id);
bool ipc_sysctl_read(const char *name, char *ret, size_t len);
int ipc_sysctl_write(const char *name, const char *value);
const struct crcore_task *ipc_task(const struct ipc *, pid_t);

/* scope.c */
/* Is the IPC namespace that crcore is in the tree's own? Looked at when first asked, since
 * all processes must be looked at for it, and again after scope_forget(). */
bool scope_all(struct ipc *);
void scope_forget(struct ipc *);
bool scope_initial(void); /* is it that of the machine? */
/* The objects of a sort that are to be saved, those shared outside marked. */
struct used { struct entry e; bool kept; };
int scope_list(struct ipc *, enum sort, struct used **ret, unsigned *ret_n, struct crcore_error *);
int ipc_observe(void *state, struct crcore_error *);
/* Calls fn for the processes of our namespace that are neither ours nor the tree's, until
 * one returns true: that one, or 0. */
pid_t scope_each_outside(const struct ipc *, bool (*fn)(void *, pid_t), void *arg);
/* A process outside the tree that has the segment attached; 0: none is seen. */
pid_t scope_attached_by(const struct ipc *, const struct stat *);
int scope_shared(const struct ipc *, enum sort, int id, pid_t by, const char *how,
                 struct crcore_error *);

/* shm.c */
int shm_claim(struct ipc *, const struct crcore_object *, struct crcore_error *);
int shm_review(struct ipc *, const struct crcore_object *, struct crcore_error *);
int shm_save_object(struct ipc *, const struct crcore_object *, struct crcore_error *);
int shm_save(struct ipc *, struct crcore_error *);
bool shm_is_attached(const struct ipc *, int id); /* by the tree */
void perm_fill(Ipc__Perm *, const struct entry *, bool kept);
/* A descriptor of the memory of a segment that this process attaches for a moment. */
int shm_open_memory(int id, bool write);

/* attach.c */
int shm_check(struct ipc *, struct crcore_error *);
int shm_make(struct ipc *, struct shm *, struct crcore_error *);
int shm_create(struct ipc *, uint32_t object, struct crcore_error *);
int shm_map(struct ipc *, uint32_t object, const struct crcore_mapping *const *, uint32_t n,
            uint64_t scratch, uint64_t scratch_len, struct crcore_program *, struct crcore_error *);
void shm_emit(struct ipc *, const struct crcore_task *, struct crcore_program *);
int shm_settle(struct ipc *, struct crcore_error *);

/* sem.c */
int sem_save(struct ipc *, struct crcore_error *);
int sem_make(struct ipc *, struct sem *, struct crcore_error *);

/* undo.c: dump; redo.c: restore */
int undo_ask_again(void *state, const struct crcore_task *, struct crcore_program *,
                   struct crcore_error *);
int undo_save(struct ipc *, struct crcore_error *);
int undo_check(struct ipc *, struct crcore_error *);
void undo_emit(struct ipc *, const struct crcore_task *, uint32_t phase, struct crcore_program *);
int undo_settle(struct ipc *, struct crcore_error *);
void undo_free(struct ipc *);

/* msg.c */
int msg_save(struct ipc *, struct crcore_error *);
int msg_make(struct ipc *, struct msg *, struct crcore_error *);

/* queue.c */
bool queue_is(const struct crcore_object *);
int queue_claim(struct ipc *, const struct crcore_object *, struct crcore_error *);
int queue_review(struct ipc *, const struct crcore_object *, struct crcore_error *);
int queue_save_object(struct ipc *, const struct crcore_object *, struct crcore_error *);
int queue_save(struct ipc *, struct crcore_error *);
int queue_folder(struct crcore_error *); /* a directory of all, or a negative errno */
pid_t queue_opened_by(const struct ipc *, const struct stat *);
void queue_free(struct ipc *);

/* open.c */
int queue_load(struct ipc *, const void *, size_t, struct crcore_error *);
int queue_load_message(struct ipc *, const void *, size_t, struct crcore_error *);
int queue_load_open(struct ipc *, const void *, size_t, struct crcore_error *);
int queue_check(struct ipc *, struct crcore_error *);
int queue_make(struct ipc *, struct crcore_error *);
void queue_unmake(struct ipc *);
int queue_create(struct ipc *, uint32_t object, struct crcore_error *); /* -ENOENT: none of ours */
void queue_emit(struct ipc *, const struct crcore_task *, struct crcore_program *);
void queue_settle(struct ipc *);
void queue_forget(struct ipc *);

static inline bool memory_is_name(const char *name)
{
	return name[0] && strlen(name) < NAME_MAX && !strchr(name, '/') && strcmp(name, ".") &&
	       strcmp(name, "..");
}
/* posix.c; memory_is: is it such a file, which this plugin keeps? */
bool memory_is(const struct ipc *, const struct crcore_object *);
int memory_review(struct ipc *, const struct crcore_object *, struct crcore_error *);
int memory_save_object(struct ipc *, const struct crcore_object *, struct crcore_error *);
/* A process outside the tree that uses the file; 0: none; all are looked at once. */
pid_t memory_used_by(struct ipc *, const struct stat *);
void memory_forget_users(struct ipc *);

/* remake.c */
int memory_load(struct ipc *, const void *, size_t, struct crcore_error *);
int memory_load_use(struct ipc *, const void *, size_t, struct crcore_error *);
int memory_check(struct ipc *, struct crcore_error *);
int memory_make(struct ipc *, struct crcore_error *);
void memory_unmake(struct ipc *);
bool memory_has(const struct ipc *, uint32_t object);
int memory_create(struct ipc *, uint32_t object); /* -ENOENT: none of ours */
int memory_settle(struct ipc *, struct crcore_error *);
void memory_free(struct ipc *);

/* limit.c */
/* A name of the list of limits, or NULL: nothing else must be written to. */
const char *limit_known(const char *name);
int limit_save(struct ipc *, struct crcore_error *);
int limit_set(struct ipc *, bool late, struct crcore_error *);
/* Raises a limit until the end of the command. */
int limit_raise(struct ipc *, const char *name, uint64_t least, struct crcore_error *);
void limit_free(struct ipc *);

/* load.c */
int ipc_load_record(void *state, const char *section, uint32_t version, const void *msg, size_t len,
                    struct crcore_error *);
int ipc_check(void *state, struct crcore_error *);
int ipc_prepare(void *state, struct crcore_error *);

/* make.c */
/* Makes an object of that id, by its creator (pid: 0, any). size: bytes, or semaphores. */
int item_make(struct ipc *, struct item *, pid_t pid, uint64_t size, int flags,
              struct crcore_error *);
/* Effective ids of somebody else, and the capabilities that we have: in a helper. */
int ipc_become(uid_t, gid_t);
int item_fail(const struct item *, int r, const char *what, struct crcore_error *);
/* Owner and permissions. */
int item_dress(struct item *, struct crcore_error *);
void item_remove(struct item *);
void ipc_remove(enum sort, int id);
/* fn as that process if that can be; the pid is only for the record. */
int ipc_run_as(struct ipc *, pid_t, int (*fn)(void *), void *arg, struct crcore_error *);

/* wills.c: each before what it is about is made */
int will_item(struct ipc *, const struct item *, struct crcore_error *);
int will_queue(struct ipc *, const char *name_with_slash, struct crcore_error *);
/* A limit that is changed: its value now. */
int will_limit(struct ipc *, const char *name, const char *value, struct crcore_error *);

#endif
