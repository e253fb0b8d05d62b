/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See worker.h. The worker learns of main's death by PR_SET_PDEATHSIG, which
 * is the same signal as a wish to stop. Its own death main sees as the end of
 * the channel.
 */
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "core/util/trace.h"
#include "core/util/util.h"
#include "core/util/worker.h"

#define KEEP_MEMORY (32 << 20) /* bytes; more is refused */

enum { MSG_RESULT, MSG_REQUEST, MSG_REPLY };

struct message {
	int type, result;
	struct crcore_error err;
	size_t len;
	char body[WORKER_MAX_MSG];
};

static volatile sig_atomic_t cancelled;
static volatile sig_atomic_t worker_pid; /* in main: whom to forward to */

static void on_cancel(int signo)
{
	if (worker_pid > 0)
		kill(worker_pid, signo);
	else
		cancelled = 1;
}

int worker_check(struct crcore_error *err)
{
	return cancelled ? crcore_fail(err, -ECANCELED, "interrupted; everything was taken back") : 0;
}

/* ---- messages --------------------------------------------------------------- */

static int send_message(int channel, const struct message *m, const int *fds, int nfds)
{
	char control[CMSG_SPACE(WORKER_MAX_FDS * sizeof(int))];
	struct iovec iov = { (void *)m, offsetof(struct message, body) + m->len };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nfds > 0) {
		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, (size_t)nfds * sizeof(int));
	}
	while (sendmsg(channel, &h, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* 1: a message, 0: the other end is gone. */
static int receive_message(int channel, struct message *m, int *fds, int *ret_nfds)
{
	char control[CMSG_SPACE(WORKER_MAX_FDS * sizeof(int))];
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		            .msg_controllen = sizeof(control) };
	ssize_t n;

	do
		n = recvmsg(channel, &h, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*ret_nfds = 0;
	if (n < (ssize_t)offsetof(struct message, body))
		return 0;
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	if (c && c->cmsg_type == SCM_RIGHTS) {
		*ret_nfds = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), (size_t)*ret_nfds * sizeof(int));
	}
	return 1;
}

int worker_request(struct worker *w, const void *msg, size_t len, const int *fds, int nfds,
                   struct crcore_error *err)
{
	struct message m = { .type = MSG_REQUEST, .len = len };
	int in[WORKER_MAX_FDS], nin;

	memcpy(m.body, msg, len);
	if (send_message(w->channel, &m, fds, nfds) < 0 ||
	    receive_message(w->channel, &m, in, &nin) != 1)
		return crcore_fail(err, -ECANCELED, "interrupted; everything was taken back");
	if (m.result < 0)
		*err = m.err;
	return m.result;
}

/* ---- the two processes -------------------------------------------------------- */

bool worker_ignores(int signo)
{
	struct sigaction now;

	return sigaction(signo, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

/* SIGTERM in any case: the worker is told by it that main is gone. */
static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_cancel };

	sigaction(SIGTERM, &sa, NULL);
	if (!worker_ignores(SIGINT))
		sigaction(SIGINT, &sa, NULL);
	if (!worker_ignores(SIGHUP))
		sigaction(SIGHUP, &sa, NULL);
}

static _Noreturn void worker_main(int channel, pid_t main_pid,
                                  int (*work)(struct worker *, void *, struct crcore_error *),
                                  void *arg)
{
	struct worker w = { channel, main_pid };
	struct message m = { .type = MSG_RESULT, .err = CRCORE_ERROR_INIT };

	worker_pid = 0;
	/* What these would say fails with an error instead, which is undone in order. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	setsid();
	prctl(PR_SET_NAME, "cr-worker");
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	/* A tree stands still while the worker works: it goes first. Refused: no harm. */
	setpriority(PRIO_PROCESS, 0, -20);
	if (getppid() != main_pid)
		_exit(1);
	m.result = work(&w, arg, &m.err);
	trace_write();
	fflush(NULL);
	send_message(channel, &m, NULL, 0);
	_exit(0);
}

static int serve_requests(int channel,
                          int (*serve)(void *, const void *, size_t, const int *, int,
                                       struct crcore_error *),
                          void *arg, struct crcore_error *err)
{
	struct message m;
	int fds[WORKER_MAX_FDS], nfds;

	while (receive_message(channel, &m, fds, &nfds)) {
		if (m.type == MSG_RESULT) {
			if (m.result < 0)
				*err = m.err;
			return m.result;
		}
		struct message reply = { .type = MSG_REPLY, .err = CRCORE_ERROR_INIT };
		reply.result = serve ? serve(arg, m.body, m.len, fds, nfds, &reply.err) : -ENOSYS;
		for (int i = 0; i < nfds; i++)
			close(fds[i]);
		send_message(channel, &reply, NULL, 0);
	}
	return crcore_fail(err, -EOWNERDEAD, "the worker process was killed");
}

int worker_run(int (*work)(struct worker *, void *arg, struct crcore_error *),
               int (*serve)(void *arg, const void *msg, size_t len, const int *fds, int nfds,
                            struct crcore_error *),
               void *arg, const char *if_killed, struct crcore_error *err)
{
	sigset_t block, old;
	int pair[2];
	pid_t self = getpid();

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return crcore_fail(err, -errno, "cannot make a socket pair: %s", strerror(errno));
	sigfillset(&block);
	sigprocmask(SIG_BLOCK, &block, &old);
	catch_signals();
	fflush(NULL);
	/* For the worker: lists of pages and mappings are large, and come and go, and memory that was
	 * given back to the kernel costs a fault a page when it is wanted again. Set here, since it
	 * writes to what is not shared yet. */
	mallopt(M_MMAP_THRESHOLD, KEEP_MEMORY);
	mallopt(M_TRIM_THRESHOLD, KEEP_MEMORY);
	pid_t pid = fork();
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &old, NULL);
		close(pair[0]);
		worker_main(pair[1], self, work, arg);
	}
	worker_pid = pid;
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(pair[1]);
	int r = pid < 0 ? crcore_fail(err, -errno, "cannot fork: %s", strerror(errno))
	                : serve_requests(pair[0], serve, arg, err);
	worker_pid = 0;
	close(pair[0]);
	if (r == -EOWNERDEAD)
		crcore_advise(err, "%s; see the kernel log for why: out of memory?", if_killed);
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	return r;
}
