/* SPDX-License-Identifier: Apache-2.0 */
/* See tracker.h. What the tracker holds stands in a table that others fetch from it: it
 * answers no questions, so it cannot hang, and to stop it changes nothing. */
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/image/image.h"
#include "core/memory/tracker.h"
#include "core/task/task.h"
#include "core/util/util.h"

enum state { STATE_NEW, STATE_GOOD, STATE_TAKEN };

#define TABLE_MAX (64u << 20)
#define MAGIC "crtrack1"

struct table {
	char magic[8];
	uint8_t secret[TRACKING_SECRET];
	uint32_t state;       /* enum state, changed atomically */
	uint32_t n;
	struct held { int32_t pid, uffd; uint64_t start_time; } v[]; /* uffd: the tracker's */
};

struct tracker {
	struct table *table;
	size_t size;
	int memfd, self;      /* self: of us, who start it */
	int alone;            /* ends when it has closed all that is not its own */
	int *keep;            /* all its descriptors, ascending */
	unsigned nkeep;
	struct pollfd *polls; /* the processes; last we */
	pid_t pid;
	bool kept;
};

/* ---- the tracker itself ------------------------------------------------------------- */

static void close_others(const struct tracker *t)
{
	unsigned from = 0;

	for (unsigned i = 0; i < t->nkeep; i++) {
		if ((unsigned)t->keep[i] > from)
			close_range(from, (unsigned)t->keep[i] - 1, 0);
		from = (unsigned)t->keep[i] + 1;
	}
	close_range(from, ~0U, 0);
}

static bool is_good(const struct tracker *t)
{
	return __atomic_load_n(&t->table->state, __ATOMIC_ACQUIRE) == STATE_GOOD;
}

/* Until all processes have ended, or we did without keeping it. */
static _Noreturn void tracker_main(struct tracker *t)
{
	const unsigned n = t->table->n;
	unsigned left = n;
	sigset_t none;

	prctl(PR_SET_NAME, "cr-tracker");
	setsid();
	for (int i = 1; i < SIGRTMIN; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (chdir("/") < 0)
		_exit(1);
	close_others(t);
	malloc_trim(0);
	while (left) {
		if (poll(t->polls, n + 1, -1) < 0)
			continue;
		if (t->polls[n].revents && !is_good(t))
			break;
		for (unsigned i = 0; i <= n; i++) {
			if (!t->polls[i].revents)
				continue;
			close(STEAL_FD(t->polls[i].fd)); /* poll passes over it */
			left -= i < n;
			if (i < n)
				close(t->table->v[i].uffd);
		}
	}
	_exit(0);
}

/* ---- who starts it -------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static int make_table(struct tracker *t, const struct tracked *v, unsigned n)
{
	t->size = sizeof(*t->table) + n * sizeof(t->table->v[0]);
	t->memfd = memfd_create("cr-tracker", MFD_CLOEXEC);
	if (t->memfd < 0 || ftruncate(t->memfd, (off_t)t->size) < 0)
		return -errno;
	t->table = mmap(NULL, t->size, PROT_READ | PROT_WRITE, MAP_SHARED, t->memfd, 0);
	if (t->table == MAP_FAILED) {
		t->table = NULL;
		return -errno;
	}
	memcpy(t->table->magic, MAGIC, sizeof(t->table->magic));
	if (getrandom(t->table->secret, TRACKING_SECRET, 0) != TRACKING_SECRET)
		return -EIO;
	t->table->n = n;
	for (unsigned i = 0; i < n; i++)
		t->table->v[i] = (struct held){ v[i].pid, v[i].uffd, v[i].start_time };
	return 0;
}

static int open_processes(struct tracker *t, const struct tracked *v, unsigned n)
{
	t->polls = calloc(n + 1, sizeof(*t->polls));
	t->keep = calloc(2 * n + 2, sizeof(*t->keep));
	if (!t->polls || !t->keep)
		return -ENOMEM;
	t->self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (t->self < 0)
		return -errno;
	for (unsigned i = 0; i < n; i++) {
		t->polls[i] = (struct pollfd){ v[i].pidfd, POLLIN, 0 };
		t->keep[t->nkeep++] = v[i].pidfd;
		t->keep[t->nkeep++] = v[i].uffd;
	}
	t->polls[n] = (struct pollfd){ t->self, POLLIN, 0 };
	t->keep[t->nkeep++] = t->self;
	t->keep[t->nkeep++] = t->memfd;
	qsort(t->keep, t->nkeep, sizeof(*t->keep), by_number);
	return 0;
}

static int start_time(pid_t pid, uint64_t *ret, struct crcore_error *err)
{
	struct proc_stat st;
	cleanup_close int proc = proc_open(pid, err);
	int r = proc < 0 ? proc : proc_stat(proc, &st, err);

	if (r == 0)
		*ret = st.start_time;
	return r;
}

static int start(struct tracker *t)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	t->alone = ends[0];
	t->pid = fork();
	if (t->pid == 0)
		tracker_main(t);
	int r = t->pid < 0 ? -errno : 0;
	close(ends[1]);
	return r;
}

int tracker_begin(const struct tracked *v, unsigned n, Crcore__Tracking *rec, struct tracker **ret,
                  struct crcore_error *err)
{
	struct tracker *t = calloc(1, sizeof(*t));
	int r = t ? 0 : -ENOMEM;

	crcore__tracking__init(rec);
	rec->secret.data = malloc(TRACKING_SECRET);
	if (r == 0)
		t->memfd = t->self = t->alone = -1;
	if (r == 0 && !rec->secret.data)
		r = -ENOMEM;
	if (r == 0 && (r = make_table(t, v, n)) == 0 && (r = open_processes(t, v, n)) == 0)
		r = start(t);
	if (r < 0) {
		tracker_free(t);
		return crcore_fail(err, r, "no process to track writes: %s", strerror(-r));
	}
	*ret = t;
	rec->pid = (uint32_t)t->pid;
	rec->table = (uint32_t)t->memfd;
	rec->secret.len = TRACKING_SECRET;
	memcpy(rec->secret.data, t->table->secret, TRACKING_SECRET);
	return start_time(t->pid, &rec->start_time, err);
}

void tracker_forget(Crcore__Tracking *rec)
{
	free(rec->secret.data);
	crcore__tracking__init(rec);
}

/* Whoever finds us gone may take the image's lock: the tracker must have let go of it. */
void tracker_keep(struct tracker *t)
{
	char byte;

	while (read(t->alone, &byte, 1) < 0 && errno == EINTR)
		;
	__atomic_store_n(&t->table->state, STATE_GOOD, __ATOMIC_RELEASE);
	t->kept = true;
}

void tracker_free(struct tracker *t)
{
	if (!t)
		return;
	if (t->pid > 0 && !t->kept) {
		kill(t->pid, SIGKILL);
		while (waitpid(t->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (t->table)
		munmap(t->table, t->size);
	if (t->memfd >= 0)
		close(t->memfd);
	if (t->self >= 0)
		close(t->self);
	if (t->alone >= 0)
		close(t->alone);
	free(t->keep);
	free(t->polls);
	free(t);
}

/* ---- who takes it over ------------------------------------------------------------------ */

static int gone(struct crcore_error *err, const char *why)
{
	return crcore_fail(err, -ESRCH, "%s", why);
}

/* The table of the tracker that rec names, if it is that; unmap it. */
static int fetch_table(const Crcore__Tracking *rec, int pidfd, struct table **ret, size_t *ret_size,
                       struct crcore_error *err)
{
	cleanup_close int fd = (int)syscall(SYS_pidfd_getfd, pidfd, rec->table, 0);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(struct table) ||
	    st.st_size > TABLE_MAX)
		return gone(err, "the process that tracked its writes is gone");
	struct table *t = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (t == MAP_FAILED)
		return gone(err, "the process that tracked its writes is gone");
	if (memcmp(t->magic, MAGIC, sizeof(t->magic)) ||
	    memcmp(t->secret, rec->secret.data, TRACKING_SECRET) ||
	    t->n > ((size_t)st.st_size - sizeof(*t)) / sizeof(t->v[0])) {
		munmap(t, (size_t)st.st_size);
		return gone(err, "the process that tracked its writes is gone");
	}
	*ret = t;
	*ret_size = (size_t)st.st_size;
	return 0;
}

static int fetch_all(const struct table *t, int pidfd, struct tracked **ret, unsigned *ret_n,
                     struct crcore_error *err)
{
	const unsigned n = t->n;
	struct tracked *v = calloc(n + 1, sizeof(*v));

	if (!v)
		return crcore_no_memory(err);
	*ret_n = 0;
	for (unsigned i = 0; i < n; i++) {
		int fd = (int)syscall(SYS_pidfd_getfd, pidfd, t->v[i].uffd, 0);
		if (fd >= 0) /* else the process has ended */
			v[(*ret_n)++] = (struct tracked){ t->v[i].pid, t->v[i].start_time, fd, -1 };
	}
	*ret = v;
	return 0;
}

int tracker_take(const Crcore__Tracking *rec, struct tracked **ret, unsigned *ret_n,
                 struct crcore_error *err)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, rec->pid, 0);
	uint32_t good = STATE_GOOD;
	struct table *t = NULL;
	size_t size = 0;
	uint64_t since = 0;

	/* what is said of the number is said of the process: it was opened before */
	if (pidfd < 0 || start_time((pid_t)rec->pid, &since, &ignored) < 0 ||
	    since != rec->start_time)
		return gone(err, "the process that tracked its writes is gone");
	int r = fetch_table(rec, pidfd, &t, &size, err);
	if (r < 0)
		return r;
	if (!__atomic_compare_exchange_n(&t->state, &good, STATE_TAKEN, false, __ATOMIC_ACQ_REL,
	                                 __ATOMIC_ACQUIRE))
		r = gone(err, "another dump goes on from there, or failed to");
	if (r == 0)
		r = fetch_all(t, pidfd, ret, ret_n, err);
	munmap(t, size);
	if (r == 0)
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	return r;
}
