/* SPDX-License-Identifier: Apache-2.0 */
/*
 * isolate [-t SECONDS] [-k] [-n] -- COMMAND...
 *
 * Runs a test in pid, mount, network, IPC and UTS namespaces of its own, with a
 * scratch folder ($CRCORE_TEST_DIR) that is removed afterwards, whatever
 * happens. Process 1 of the pid namespace reaps orphans; when it goes, the
 * kernel kills all that is left, so a test cannot leave processes or mounts
 * behind, nor hang longer than its time limit.
 *
 *   -t  time limit (default 120 s); exit status 124
 *   -k  keep the scratch folder and say where it is
 *   -n  keep the caller's network namespace
 *
 * A process that outlives COMMAND is a failure (status 99): the test left
 * something behind. If the namespaces cannot be made the test is skipped (77).
 * Exits otherwise as COMMAND does, 128 + N if signal N killed it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_SKIP = 77, STATUS_LEFT = 99, STATUS_TIMEOUT = 124 };

/*
 * Control groups of the test have the name of its scratch folder, in any
 * hierarchy. What is frozen in one cannot be killed.
 */
static int thaw_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	static const char *const files[][2] = { { "freezer.state", "THAWED" }, { "cgroup.freeze", "0" } };

	for (int i = 0; i < 2 && type == FTW_D; i++) {
		char name[4200];
		snprintf(name, sizeof(name), "%s/%s", path, files[i][0]);
		int fd = open(name, O_WRONLY | O_CLOEXEC);
		if (fd >= 0 && write(fd, files[i][1], strlen(files[i][1])) < 0)
			perror(name);
		if (fd >= 0)
			close(fd);
	}
	return 0;
}

static int remove_group(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	for (int i = 0; type == FTW_DP && i < 200 && rmdir(path) && errno == EBUSY; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	return 0;
}

static void each_group(const char *dir, int flags,
                       int (*fn)(const char *, const struct stat *, int, struct FTW *))
{
	const char *name = strrchr(dir, '/');
	DIR *d = opendir("/sys/fs/cgroup");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[4200];
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s%s", e->d_name, name);
		nftw(path, fn, 32, flags | FTW_PHYS);
	}
	if (d)
		closedir(d);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path) && errno != ENOENT ? -1 : 0;
}

static void remove_tree(const char *path)
{
	/* FTW_MOUNT: never leave the file system of the scratch folder. */
	for (int i = 0; i < 5; i++)
		if (!nftw(path, remove_entry, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) || errno == ENOENT)
			return;
	fprintf(stderr, "isolate: cannot remove %s: %s\n", path, strerror(errno));
}

static void loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	if (s < 0 || ioctl(s, SIOCSIFFLAGS, &ifr))
		perror("isolate: loopback");
	if (s >= 0)
		close(s);
}

/* Names every process of the namespace but this one; returns how many run. */
static int count_others(bool say)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int n = 0;

	while (d && (e = readdir(d))) {
		char path[300], stat[512] = "";
		long pid = atol(e->d_name);
		FILE *f;

		if (pid <= 1)
			continue;
		snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (!fgets(stat, sizeof(stat), f))
			stat[0] = 0;
		fclose(f);
		const char *end = strrchr(stat, ')');
		if (!end || end[2] == 'Z' || end[2] == 'X')
			continue;
		n++;
		if (say)
			fprintf(stderr, "isolate: left running: %.200s\n", stat);
	}
	if (d)
		closedir(d);
	return n;
}

/* Reaps everything; returns the status of child once it has ended. */
static int reap_until(pid_t child)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, 0)) > 0 || errno == EINTR)
		if (pid == child)
			return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return STATUS_LEFT;
}

/* Process 1 of the namespace. */
static int init_main(char **argv)
{
	static const int keys[] = { SIGINT, SIGQUIT, SIGHUP };
	sigset_t none;
	pid_t child;
	int status;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "isolate-init");
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)) {
		fprintf(stderr, "isolate: skipped: cannot mount /proc: %s\n", strerror(errno));
		return STATUS_SKIP;
	}
	if (mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"))
		perror("isolate: /dev/shm");
	/* Terminals of its own: a test that wants a number back must not meet another's. */
	if (mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666"))
		perror("isolate: /dev/pts");
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	child = fork();
	if (child < 0)
		return perror("isolate: fork"), STATUS_LEFT;
	if (!child) {
		setsid();
		for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
			signal(keys[i], SIG_DFL); /* a shell ignores them in the background */
		execvp(argv[0], argv);
		fprintf(stderr, "isolate: %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	status = reap_until(child);
	/* What is on its way out gets two seconds. */
	for (int i = 0; i < 200 && count_others(false); i++) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	if (count_others(true) && !status)
		status = STATUS_LEFT;
	each_group(getenv("CRCORE_TEST_DIR"), 0, thaw_entry);
	return status;
}

static pid_t clone_init(unsigned long long flags, int *pidfd)
{
	struct clone_args args = { .flags = flags | CLONE_PIDFD, .exit_signal = SIGCHLD,
	                           .pidfd = (uint64_t)(uintptr_t)pidfd };

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* Waits for init or the time limit or a signal that asks to end. */
static int supervise(pid_t init, int seconds, const sigset_t *set, const char *dir)
{
	struct timespec limit = { .tv_sec = seconds };
	struct timespec start, now;
	int status;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (;;) {
		if (waitpid(init, &status, WNOHANG) == init)
			return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		int sig = sigtimedwait(set, NULL, &limit);
		if (sig == SIGCHLD)
			continue;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (sig > 0 || now.tv_sec - start.tv_sec >= seconds) {
			fprintf(stderr, "isolate: %s; killing the namespace\n",
			        sig > 0 ? strsignal(sig) : "time limit reached");
			each_group(dir, 0, thaw_entry);
			kill(init, SIGKILL);
			waitpid(init, &status, 0);
			return sig > 0 ? 128 + sig : STATUS_TIMEOUT;
		}
	}
}

int main(int argc, char **argv)
{
	unsigned long long ns = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
	bool keep = getenv("CRCORE_TEST_KEEP") != NULL, net = true;
	const char *tmp = getenv("TMPDIR");
	int seconds = 120, opt, status, pidfd = -1;
	char dir[4096];
	sigset_t set;
	pid_t init;

	while ((opt = getopt(argc, argv, "+t:kn")) != -1) {
		if (opt == 't')
			seconds = atoi(optarg);
		else if (opt == 'k')
			keep = true;
		else if (opt == 'n')
			net = false;
		else
			return 2;
	}
	if (optind >= argc || seconds <= 0) {
		fprintf(stderr, "usage: isolate [-t SECONDS] [-k] [-n] -- COMMAND...\n");
		return 2;
	}
	snprintf(dir, sizeof(dir), "%s/crcore-test.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(dir) || chmod(dir, 0755))
		return perror("isolate: scratch folder"), 2;
	setenv("CRCORE_TEST_DIR", dir, 1);

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	init = clone_init(ns | (net ? CLONE_NEWNET : 0), &pidfd);
	if (init < 0) {
		fprintf(stderr, "isolate: skipped: no namespaces: %s\n", strerror(errno));
		remove_tree(dir);
		return errno == EPERM || errno == ENOSYS || errno == EINVAL ? STATUS_SKIP : 2;
	}
	if (!init) {
		if (net)
			loopback_up();
		_exit(init_main(argv + optind));
	}
	status = supervise(init, seconds, &set, dir);
	each_group(dir, FTW_DEPTH, remove_group);
	if (keep)
		fprintf(stderr, "isolate: kept %s\n", dir);
	else
		remove_tree(dir);
	return status;
}
