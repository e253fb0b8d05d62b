/* SPDX-License-Identifier: Apache-2.0 */
/* How the pager begins, and the worker's end of it; see pager.h. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "core/pager/request.h"
#include "core/util/keep.h"

#define FEATURES (UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | \
                  UFFD_FEATURE_EVENT_UNMAP)

struct pager {
	pid_t pid;
	int requests, replies;
	bool kept;
};

int pager_prepare(int uffd, struct crcore_error *err)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };

	if (ioctl(uffd, UFFDIO_API, &api) == 0)
		return 0;
	return crcore_fail(err, -errno, "this kernel cannot load memory on demand: %s",
	                   strerror(errno));
}

bool pager_works(void)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	cleanup_close int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	return fd >= 0 && pager_prepare(fd, &ignored) == 0;
}

/* ---- in the pager ------------------------------------------------------------------------ */

/* Of what the worker has open, and its parent had, the pager holds nothing that somebody may
 * wait for the end of. */
static int shed(struct state *p, struct crcore_error *err)
{
	struct stat st;
	unsigned n;
	int *v = image_descriptors(p->setup.image, &n);

	for (int i = 0; i < 5 && v; i++)
		if (!GROW(v, n))
			free(STEAL(v));
		else
			v[n++] = ((const int[]){ p->requests, p->replies, p->worker, log_descriptor(),
			                         STDERR_FILENO })[i];
	if (!v)
		return crcore_no_memory(err);
	if (p->setup.detached && log_descriptor() == STDERR_FILENO && !isatty(STDERR_FILENO) &&
	    !(fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode)))
		v[n - 1] = v[n - 2] = -1;
	else if (p->setup.detached && log_descriptor() != STDERR_FILENO)
		v[n - 1] = -1;
	keep_only(v, n);
	free(v);
	for (int fd; (fd = open("/dev/null", O_RDWR)) <= STDERR_FILENO;)
		if (fd < 0)
			return crcore_fail(err, -errno, "cannot open /dev/null: %s", strerror(errno));
	return 0;
}

static int begin(struct state *p, struct crcore_error *err)
{
	const uint64_t length = pages_length(p->setup.pages);

	p->standby = -1;
	p->started = now_ns();
	p->journal = mmap(NULL, sizeof(*p->journal), PROT_READ | PROT_WRITE,
	                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	p->nowhere = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p->buf = malloc(IMAGE_BLOCK);
	bool ok = p->journal != MAP_FAILED && p->nowhere != MAP_FAILED && p->buf &&
	          source_begin(&p->source, p->setup.pages, p->setup.verify) &&
	          order_begin(&p->order, length) && order_begin(&p->asked, length);
	for (unsigned i = 0; i < p->setup.n && ok; i++) {
		const struct pager_space *from = &p->setup.spaces[i];
		struct space *s = space_add(p, -1);
		ok = s;
		for (unsigned k = 0; k < from->n && ok; k++)
			ok = places_add(&s->view.lacks, from->fills[k].addr, from->fills[k].pages * PAGE,
			                from->fills[k].file_offset);
		for (unsigned k = 0; k < from->nranges && ok; k++)
			ok = places_add(&s->view.watched, from->ranges[k].start,
			                from->ranges[k].end - from->ranges[k].start, 0);
		for (unsigned k = 0; k < from->nhuge && ok; k++)
			ok = places_add(&s->huge, from->huge[k].start,
			                from->huge[k].end - from->huge[k].start, 0);
	}
	ok = ok && shared_begin(p);
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&p->events, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&p->lock, NULL);
	if (!ok)
		return crcore_no_memory(err);
	return pipe2(p->wake, O_CLOEXEC | O_NONBLOCK) ?
	       crcore_fail(err, -errno, "out of descriptors") : 0;
}

static _Noreturn void pager_main(struct state *p)
{
	static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGXFSZ };
	struct reply last = { .err = CRCORE_ERROR_INIT };

	prctl(PR_SET_PDEATHSIG, 0);
	prctl(PR_SET_NAME, "cr-pager");
	setsid();
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	if ((last.result = shed(p, &last.err)) == 0 && (last.result = begin(p, &last.err)) == 0)
		last.result = serve_worker(p, &last.err);
	if (last.result < 0) {
		(void)!write(p->replies, &last, sizeof(last));
		_exit(1);
	}
	close(STEAL_FD(p->requests));
	close(STEAL_FD(p->replies));
	close(STEAL_FD(p->worker));
	pager_run(p);
}

/* ---- in the worker ----------------------------------------------------------------------- */

int pager_start(const struct pager_setup *setup, struct pager **ret, struct crcore_error *err)
{
	struct state state = { .setup = *setup };
	struct pager *p = calloc(1, sizeof(*p));
	int to[2] = { -1, -1 }, from[2] = { -1, -1 }, self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	bool ok = p && self >= 0 && pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0;

	fflush(NULL);
	pid_t pid = ok ? fork() : -1;
	int r = pid < 0 ? -errno : 0;
	if (pid == 0) {
		state.requests = to[0];
		state.replies = from[1];
		state.worker = self;
		close(to[1]);
		pager_main(&state);
	}
	for (int i = 0; i < 3; i++) {
		int fd = ((const int[]){ to[0], from[1], self })[i];
		if (fd >= 0)
			close(fd);
	}
	if (p)
		*p = (struct pager){ pid, to[1], from[0], false };
	if (r < 0) {
		pager_end(p);
		return crcore_fail(err, r, "cannot make the pager: %s", strerror(-r));
	}
	*ret = p;
	return 0;
}

static int hear(const struct pager *p, struct crcore_error *err)
{
	struct reply reply;

	if (request_read(p->replies, &reply, sizeof(reply)) <= 0)
		return crcore_fail(err, -EPIPE, "the pager was killed");
	if (reply.result < 0)
		*err = reply.err;
	return reply.result;
}

static int ask(struct pager *p, const struct request *q, struct crcore_error *err)
{
	(void)!write(p->requests, q, sizeof(*q)); /* should it be gone, hear() says so */
	return hear(p, err);
}

int pager_take(struct pager *p, unsigned space, int uffd, int pidfd, struct crcore_error *err)
{
	const struct request q = { .kind = REQUEST_TAKE, .space = space, .fd = uffd, .pidfd = pidfd };

	return ask(p, &q, err);
}

int pager_take_segment(struct pager *p, unsigned segment, int fd, struct crcore_error *err)
{
	const struct request q = { .kind = REQUEST_SEGMENT, .space = segment, .fd = fd };

	return ask(p, &q, err);
}

int pager_check(struct pager *p, struct crcore_error *err)
{
	struct pollfd v = { p->replies, POLLIN, 0 };

	return poll(&v, 1, 0) > 0 ? hear(p, err) : 0;
}

int pager_keep(struct pager *p, const pid_t *pids, unsigned n, struct crcore_error *err)
{
	const struct request q = { .kind = REQUEST_KEEP, .n = n };
	bool ok = write(p->requests, &q, sizeof(q)) == (ssize_t)sizeof(q);

	for (unsigned i = 0; i < n && ok; i++)
		ok = write(p->requests, &pids[i], sizeof(*pids)) == (ssize_t)sizeof(*pids);
	int r = hear(p, err);
	p->kept = r == 0;
	return r;
}

void pager_end(struct pager *p)
{
	if (!p)
		return;
	if (p->pid > 0 && !p->kept) {
		kill(p->pid, SIGKILL);
		while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (p->requests >= 0)
		close(p->requests);
	if (p->replies >= 0)
		close(p->replies);
	free(p);
}
