/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin "ttys": pseudo-terminals with both sides in the tree, sessions
 * with their controlling terminal, and jobs of a shell, whose terminal is
 * outside and is replaced by that of whoever restores them.
 *
 *   ttys.c     the plugin: options, sections, claim
 *   review.c   dump: which terminals there are, which have their master here
 *   save.c     dump: records
 *   flight.c   both: bytes that are in a terminal
 *   console.c  both: terminals that are no pseudo-terminals
 *   restore.c  restore: loading and checking records
 *   open.c     restore: records to descriptors
 *   numbers.c  restore: masters by their numbers
 *   emit.c     restore: what only a task can do (controlling terminal, foreground)
 *
 * A terminal is a number N: its slave is /dev/pts/N. A new pseudo-terminal
 * gets the lowest free number, so a number is had by taking all that are free
 * below it, for a while.
 */
#ifndef CRCORE_PLUGIN_TTYS_H
#define CRCORE_PLUGIN_TTYS_H

#include <crcore/plugin.h>
#include <asm/termbits.h> /* not termios.h: it has no termios2 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/major.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "ttys.pb-c.h"
#include "plugins/record.h"

#define CONTROLLING_DEV makedev(TTYAUX_MAJOR, 0)
#define CONSOLE_DEV makedev(TTYAUX_MAJOR, 1)
#define MASTER_DEV makedev(TTYAUX_MAJOR, 2)
#define KERNEL_LARGEFILE 0100000 /* in f_flags of all that open(2) made */
#define SETTABLE (O_NONBLOCK | O_APPEND | O_DIRECT | O_NOATIME)

enum consoles { CONSOLES_REOPEN, CONSOLES_EXTERNAL }; /* option consoles */
enum external { EXTERNAL_JOB, EXTERNAL_INHERIT, EXTERNAL_REFUSE }; /* option external */

/* Dump: a terminal. */
struct known {
	dev_t dev;       /* of the slave, or of a terminal that is none */
	bool hung_up;    /* there may be another with its number */
	bool master;     /* in the tree */
	bool saved;
	unsigned slaves; /* descriptions in the tree */
	const char *path; /* a console or serial line that is opened again: its name; NULL: none */
};

/* Restore. */
struct made {
	Ttys__Terminal *rec;
	uint32_t master_id; /* object id, 0: none */
	int master;         /* of a hung-up terminal, until settle; else -1 */
	int slave;          /* keeps the slave side open until settle; -1: none */
	unsigned number;    /* that it got */
	int device;         /* of a console, while its settings are ours to take back; -1 */
	struct termios2 before; /* which are these, with ... */
	struct termios fixed_before; /* ... those that could not be changed */
};

struct ttys {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	enum external external;
	enum consoles consoles;
	bool renumber;

	struct known *known;
	unsigned nknown;

	struct made **made;
	unsigned nmade;
	Ttys__End **ends;
	unsigned nends;
	Ttys__Session **sessions;
	unsigned nsessions;
	unsigned masters;  /* that are still to be made */
	int *held;         /* those made meanwhile that nobody has asked for yet, by number; -1: none */
	unsigned nheld;
	char *held_path;   /* by which they were opened */
	struct termios2 own_before; /* crcore's own terminal, before a restore set it */
	bool own_changed;
};

/* -- review.c */
static inline bool ttys_is_pts(dev_t dev)
{
	return major(dev) >= UNIX98_PTY_SLAVE_MAJOR &&
	       major(dev) < UNIX98_PTY_SLAVE_MAJOR + UNIX98_PTY_MAJOR_COUNT;
}
int ttys_review(void *state, const struct crcore_object *, struct crcore_error *);
/* The terminal that a description is of; NULL if it was not there at the review. Its key in
 * the image is 1 + its index. */
struct known *ttys_known(const struct ttys *, const struct crcore_object *);
struct known *ttys_find(const struct ttys *, dev_t dev, bool hung_up);
/* Controlling terminal and foreground group of a task, from /proc. 0: none. */
bool ttys_of_task(pid_t pid, dev_t *ret_dev, pid_t *ret_foreground);

/* -- console.c */
/* A terminal that the kernel has under one name for all: a console, a serial line. */
bool console_is(dev_t);
/* Refuses those whose state goes beyond that of a terminal. */
int console_claim(const struct crcore_object *, struct crcore_error *);
/* Is it opened again, unlike the terminal of a job of a shell? */
bool console_reopens(const struct ttys *, dev_t);
int console_review(const struct crcore_object *, struct crcore_error *);
int console_check(const struct ttys *, const Ttys__Terminal *, struct crcore_error *);
int console_open(struct ttys *, struct made *, const Ttys__End *, struct crcore_error *);

/* -- save.c */
int ttys_save_object(void *state, const struct crcore_object *, struct crcore_error *);
int ttys_save(void *state, struct crcore_error *);

/* -- flight.c */
struct flight { unsigned char *to_slave, *to_master; size_t nslave, nmaster; };
/* Takes the bytes out and puts them back at once. */
int flight_copy(int master, int slave, bool packet, struct flight *ret, struct crcore_error *);
/* Puts bytes in. Leaves the terminal with the given settings. */
int flight_put(int master, int slave, const struct termios2 *, const struct flight *,
               struct crcore_error *);
void flight_free(struct flight *);

/* -- restore.c */
int ttys_load_record(void *state, const char *section, uint32_t version, const void *msg,
                     size_t len, struct crcore_error *);
int ttys_check(void *state, struct crcore_error *);
struct made *ttys_made(const struct ttys *, uint32_t key);
const Ttys__End *ttys_end(const struct ttys *, uint32_t id);

/* -- open.c */
int ttys_plan(void *state, uint32_t id, uint32_t *ret_needs, uint32_t max, struct crcore_error *);
int ttys_create(void *state, uint32_t id, struct crcore_error *);
int ttys_settle(void *state, struct crcore_error *);
int ttys_own_terminal(void); /* which of 0, 1, 2 is a terminal; -1: none */

/* -- numbers.c */
int numbers_open(struct ttys *, const char *path, int flags, unsigned number,
                 struct crcore_error *);
/* Lets go of those that nobody wants. */
void numbers_release(struct ttys *);

/* -- emit.c */
int ttys_emit(void *state, const struct crcore_task *, uint32_t phase, struct crcore_program *,
              struct crcore_error *);
#endif
