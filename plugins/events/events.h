/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "events": descriptors that tell a program that something has
 * happened.
 *
 *   events.c    the plugin: options, claim, records of a dump
 *   restore.c   restore: records to kinds
 *   tree.c      who in the tree holds what: kcmp(2), /proc
 *   eventfd.c, timerfd.c, signalfd.c, pidfd.c   one kind each
 *   epoll.c     dump: what is registered, and where it is found
 *   registered.c  dump: the same of an epoll with thousands of registrations
 *   register.c  restore: the registrations, made by the tasks
 *   inotify.c   dump: what is watched;  find.c: by which path
 *   mounts.c    dump: where file systems are mounted
 *   fanotify.c  marks of groups, dump and restore
 *   queue.c     what was not read when the tree stood still
 *   watch.c     restore: the watches, under their old numbers
 *   overflow.c  restore: telling the program that events were lost
 *   refuse.c    kinds that nobody can bring back, and what to do about them
 *
 * Most are made in the coordinator. epoll registers a file under a descriptor
 * number, and a signalfd for whoever registers it, so that is left to the task;
 * a pidfd can be opened only once its process exists, so something stands in
 * for it until then.
 */
#ifndef CRCORE_PLUGIN_EVENTS_H
#define CRCORE_PLUGIN_EVENTS_H

#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "events.pb-c.h"
#include "plugins/args.h"
#include "plugins/record.h"

struct made;
struct events;
struct peek;

enum queued { QUEUED_REFUSE, QUEUED_OVERFLOW, QUEUED_DROP };

/* One kind of description. What a kind does not need is NULL. */
struct kind {
	const char *name; /* as the link has it behind "anon_inode:" */
	const char *title; /* for people */
	/* Dump; all may refuse. */
	int (*claim)(struct events *, const struct crcore_object *, struct crcore_error *);
	int (*review)(struct events *, const struct crcore_object *, struct crcore_error *);
	int (*save)(struct events *, const struct crcore_object *, Events__Event *rec,
	            struct crcore_error *);
	/* Restore. is: the record is of this kind; check: it makes sense and can be done. */
	bool (*is)(const Events__Event *);
	int (*check)(struct events *, const Events__Event *, struct crcore_error *);
	int (*create)(struct events *, const Events__Event *, struct crcore_error *);
	int (*emit)(struct events *, const Events__Event *, const struct crcore_task *,
	            struct crcore_program *, struct crcore_error *);
	int (*settle)(struct events *, const Events__Event *, int fd, struct crcore_error *);
};

extern const struct kind kind_eventfd, kind_timerfd, kind_signalfd, kind_epoll, kind_pidfd,
	kind_inotify, kind_fanotify, kind_userfaultfd;
/* NULL-terminated; those with emit() in the order in which a task's program has them. */
extern const struct kind *const event_kinds[];

struct made {
	Events__Event *rec;
	const struct kind *kind;
};

struct events {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	enum queued queued;  /* option queued */
	struct made *made;   /* by id once checked */
	unsigned nmade;
	pid_t *tables;       /* by index of the task: who stands for its descriptor table, 0: unknown */
	unsigned ntables;
	struct mounts { /* mounts_read() */
		struct mount { int id; unsigned sdev; char *path; } *v; /* sdev: as fdinfo has it */
		unsigned n;
	} mounts;
	struct peek *peek;   /* NULL: not wanted yet, or ... */
	bool no_peek;        /* ... not to be had */
};

/* restore.c */
int events_load_record(void *state, const char *section, uint32_t version, const void *msg,
                       size_t len, struct crcore_error *);
int events_check(void *state, struct crcore_error *);
int events_create(void *state, uint32_t id, struct crcore_error *);
int events_emit(void *state, const struct crcore_task *, uint32_t phase, struct crcore_program *,
                struct crcore_error *);
int events_settle(void *state, struct crcore_error *);

/* tree.c */
/* The line of fdinfo that starts with "key:", behind it; NULL: there is none. */
const char *fdinfo_find(const char *fdinfo, const char *key);
/* A number of fdinfo, 0 if it is not there. */
uint64_t fdinfo_number(const char *fdinfo, const char *key, int base);
/* /proc/PID/fdinfo/FD, or that of crcore's own descriptor if pid is 0; free it. NULL: none. */
char *fdinfo_read(pid_t pid, int fd);
/* Calls fn for every line, until one returns nonzero, which is returned. The line is a copy without
 * its end: sscanf(3) looks for the end of what it is given, and fdinfo may have 100,000 lines. */
int fdinfo_each(const char *fdinfo, int (*fn)(const char *line, void *arg, struct crcore_error *),
                void *arg, struct crcore_error *);
/* The first task that has the same descriptor table as t. */
pid_t events_table(struct events *, const struct crcore_task *t);
/* Descriptors of the tree, by inode number, those of the first tasks first. */
struct events_fds {
	struct events_fd {
		ino_t ino;
		uint32_t task; /* index */
		pid_t pid;
		int fd;
		uint64_t file; /* of registered_file(), 0: not asked for yet */
	} *v;
	unsigned n;
};
/* All of them, of each table once. -ENOMEM, or 0; free v. */
int events_list_fds(struct events *, struct events_fds *ret);
/* Which is the first of that inode, if there is one. */
unsigned events_first_fd(const struct events_fds *, ino_t ino);
/* Calls fn for every descriptor of a task that leads to an inode of that number, until one
 * returns nonzero, which is returned. */
int events_each_fd(pid_t pid, ino_t ino, int (*fn)(void *arg, pid_t pid, int fd),
                   void *arg);

/* queue.c: events that were not read yet, which nobody can copy */
/* Refuses them. instead: what the option queued might say. */
int queue_check(const struct crcore_object *, const char *instead, struct crcore_error *);
/* Are there any? That is logged. */
bool queue_lost(struct events *, const struct crcore_object *);

/* registered.c */
struct registered { uint64_t file; uint32_t number; };
/* What an epoll has, in the order of its fdinfo: n of them. false: it cannot be told so. */
bool registered_read(struct events *, const struct crcore_object *, struct registered *ret,
                     unsigned n);
/* After that: the file that a descriptor leads to, 0: not known. */
uint64_t registered_file(struct events *, pid_t pid, int fd);

/* epoll.c */
bool target_disabled(const Events__Target *);
/* register.c */
int epoll_check(struct events *, const Events__Event *, struct crcore_error *);
int epoll_make(struct events *, const Events__Event *, struct crcore_error *);
int epoll_emit(struct events *, const Events__Event *, const struct crcore_task *,
               struct crcore_program *, struct crcore_error *);
/* overflow.c */
/* Puts an event into the queue that says that others were lost. */
int inotify_overflow(int fd, struct crcore_error *);
/* find.c */
struct looking { struct events *events; Events__Event *rec; }; /* rec NULL: only looks */
struct watched { /* an inode, as fdinfo has it */
	unsigned sdev;
	unsigned long long ino;
	char path[PATH_MAX]; /* found: what leads to it */
	struct stat st;
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	};
};
/* The handle that a line of fdinfo has, if it has one. */
void watched_handle(const char *line, struct watched *);
/* Finds a path that leads to it. what: who watches it, for the error. */
int watched_find(struct events *, struct watched *, const char *what, struct crcore_error *);
/* mounts.c */
/* All that there are, since the tree was looked at last; none: they cannot be read. */
const struct mounts *mounts_read(struct events *);
void mounts_forget(struct events *);
/* watch.c */
/* Is what was watched by that path still there? */
int watch_check_path(struct events *, const char *path, uint64_t ino, uint32_t mode,
                     struct crcore_error *);
int watch_check(struct events *, const Events__Event *, struct crcore_error *);
int watch_create(struct events *, const Events__Event *, struct crcore_error *);
int watch_settle(struct events *, const Events__Event *, int fd, struct crcore_error *);

#ifndef EPIOCSPARAMS /* since Linux 6.9 */
struct epoll_params {
	uint32_t busy_poll_usecs;
	uint16_t busy_poll_budget;
	uint8_t prefer_busy_poll, __pad;
};
#define EPIOCSPARAMS _IOW(0x8A, 0x01, struct epoll_params)
#define EPIOCGPARAMS _IOR(0x8A, 0x02, struct epoll_params)
#endif

#endif
