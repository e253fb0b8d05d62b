/* SPDX-License-Identifier: Apache-2.0 */
/* What every self-checking target uses; see kind.h. */
#include "kind.h"
#include <sys/mman.h>

static char folder[PATH_MAX - 64];
static bool busy;

void kind_init(int argc, char **argv)
{
	if (argc < 2 || strlen(argv[1]) >= sizeof(folder)) {
		fprintf(stderr, "usage: %s FOLDER (normally started by run-kind)\n", argv[0]);
		exit(2);
	}
	strcpy(folder, argv[1]);
}

const char *kind_path(const char *name)
{
	static _Thread_local char buf[8][PATH_MAX];
	static _Thread_local unsigned turn;
	char *p = buf[turn++ % 8];

	snprintf(p, PATH_MAX, "%s/%s", folder, name);
	return p;
}

/* Makes a file of the folder appear with all its contents; the first one stays. */
static void leave_note(const char *name, const char *text)
{
	char tmp[64];
	ssize_t len = (ssize_t)strlen(text);
	int fd;

	snprintf(tmp, sizeof(tmp), ".note-%d", (int)syscall(SYS_gettid));
	fd = open(kind_path(tmp), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, text, (size_t)len) != len)
		dprintf(2, "kind: cannot write %s: %s\n", kind_path(tmp), strerror(errno));
	if (fd >= 0)
		close(fd);
	if (link(kind_path(tmp), kind_path(name)) && errno != EEXIST)
		dprintf(2, "kind: cannot make %s: %s\n", kind_path(name), strerror(errno));
	unlink(kind_path(tmp));
}

void kind_busy(void)
{
	busy = true;
}

void kind_announce(void)
{
	leave_note("ready", busy ? "busy\n" : "still\n");
}

bool kind_over(void)
{
	return access(kind_path("go"), F_OK) == 0;
}

void kind_wait(void)
{
	while (!kind_over())
		nanosleep(&(struct timespec){ .tv_nsec = 3000000 }, NULL);
}

void kind_ready(void)
{
	kind_announce();
	kind_wait();
}

_Noreturn void kind_pass(void)
{
	leave_note("result", "pass\n");
	exit(0);
}

__attribute__((format(printf, 3, 0)))
static _Noreturn void end(const char *what, int status, const char *fmt, va_list ap)
{
	char reason[900], text[1000];

	vsnprintf(reason, sizeof(reason), fmt, ap);
	snprintf(text, sizeof(text), "%s: pid %d tid %d: %s\n", what, getpid(),
	         (int)syscall(SYS_gettid), reason);
	dprintf(2, "%s", text);
	leave_note("result", text);
	_exit(status);
}

_Noreturn void kind_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	end("fail", 1, fmt, ap);
}

_Noreturn void kind_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	end("skip", 77, fmt, ap);
}

pid_t kind_fork(int (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid)
		_exit(fn(arg));
	return pid;
}

void kind_join(pid_t child)
{
	int status;
	pid_t pid;

	do {
		pid = waitpid(child, &status, 0);
	} while (pid < 0 && errno == EINTR);
	CHECK_EQ(pid, child);
	CHECK_EQ(status, 0);
}

int64_t kind_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void kind_sleep_ms(long ms)
{
	int64_t end_ms = kind_now_ms() + ms;

	while (kind_now_ms() < end_ms)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

void kind_until(const volatile int *word, int value)
{
	for (int i = 0; __atomic_load_n(word, __ATOMIC_ACQUIRE) != value; i++) {
		if (i > 10000)
			kind_fail("a word stayed %d instead of becoming %d", *word, value);
		kind_sleep_ms(1);
	}
}

void *kind_shared(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static ssize_t read_proc(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, len - 1);
	close(fd);
	buf[n > 0 ? n : 0] = 0;
	return n;
}

char kind_state(pid_t pid, pid_t tid)
{
	char path[80], buf[600], *p;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	if (read_proc(path, buf, sizeof(buf)) <= 0)
		return 0;
	p = strrchr(buf, ')');
	return p ? p[2] : 0;
}

void kind_until_state(pid_t pid, pid_t tid, char state)
{
	for (int i = 0; kind_state(pid, tid) != state; i++) {
		if (i > 10000)
			kind_fail("task %d is in state %c instead of %c", tid, kind_state(pid, tid), state);
		kind_sleep_ms(1);
	}
}

const char *kind_status(pid_t pid, const char *key)
{
	static _Thread_local char buf[8192];
	char path[64], *p;
	size_t len = strlen(key);

	snprintf(path, sizeof(path), pid ? "/proc/%d/status" : "/proc/thread-self/status", pid);
	CHECK(read_proc(path, buf, sizeof(buf)) > 0);
	for (p = buf; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		if (!strncmp(p, key, len) && p[len] == ':' && p[len + 1] == '\t') {
			p += len + 2;
			p[strcspn(p, "\n")] = 0;
			return p;
		}
	}
	kind_fail("no %s in %s", key, path);
}

long kind_smaps(const void *p, const char *key)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start, end, at = 0;
	size_t len = strlen(key);
	char line[512];
	long n = -1;

	while (n < 0 && f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			at = (unsigned long)p >= start && (unsigned long)p < end;
		else if (at && !strncmp(line, key, len) && line[len] == ':')
			n = atol(line + len + 1);
	}
	if (f)
		fclose(f);
	return n;
}
