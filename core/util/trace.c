/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See trace.h. Events are kept in memory until the end: writing while a tree
 * stands still would lengthen what is measured. Each is a "complete event" of
 * the Trace Event Format; rows are its pids and tids.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include "core/util/json.h"
#include "core/util/trace.h"
#include "core/util/util.h"

#define EVENTS_MAX 200000u

struct event {
	uint64_t start, end;
	const char *category; /* NULL: the name of a row */
	pid_t row, thread;
	char name[48];
};

/* There is one timeline, and callers deep in the stages have no handle of it. */
static FILE *file;
static const char *title;
static uint64_t begun;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct event *events;
static size_t nevents;

int trace_open(const char *path, const char *what, struct crcore_error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	file = fd < 0 ? NULL : fdopen(fd, "w");
	if (!file) {
		int e = errno;
		if (fd >= 0)
			close(fd);
		crcore_fail_at(err, -1, -1, "%s", path);
		return crcore_fail(err, -e, "cannot write the timeline: %s", strerror(e));
	}
	begun = now_ns();
	title = what;
	return 0;
}

uint64_t trace_start(void)
{
	return file ? now_ns() : 0;
}

static void add(const struct event *e)
{
	pthread_mutex_lock(&lock);
	if (nevents < EVENTS_MAX && GROW(events, nevents))
		events[nevents++] = *e;
	pthread_mutex_unlock(&lock);
}

void trace_end(uint64_t start, pid_t row, const char *category, const char *fmt, ...)
{
	struct event e = { .start = start, .category = category, .row = row };
	va_list ap;

	if (!start || !file)
		return;
	e.end = now_ns();
	e.thread = (pid_t)syscall(SYS_gettid);
	va_start(ap, fmt);
	vsnprintf(e.name, sizeof(e.name), fmt, ap);
	va_end(ap);
	add(&e);
}

void trace_task(pid_t pid, const char *comm)
{
	struct event e = { .row = pid };

	if (!file)
		return;
	snprintf(e.name, sizeof(e.name), "%s", comm);
	add(&e);
}

/* ---- the file -------------------------------------------------------------------- */

static void put_row(struct json *j, const struct event *e, pid_t self)
{
	json_int(j, "pid", e->row > 0 ? e->row : self);
	json_int(j, "tid", e->row > 0 ? e->row : e->row == TRACE_TREE ? 0 : e->thread);
}

static void put_event(struct json *j, const struct event *e, pid_t self)
{
	json_object(j, NULL);
	json_string(j, "name", e->name);
	json_string(j, "cat", e->category);
	json_string(j, "ph", "X");
	/* microseconds; the fraction that the format allows is not worth the bytes */
	json_uint(j, "ts", (e->start - begun) / 1000);
	json_uint(j, "dur", (e->end - begun) / 1000 - (e->start - begun) / 1000);
	put_row(j, e, self);
	json_end(j);
}

static void put_name(struct json *j, const char *what, const char *name, const struct event *row,
                     pid_t self)
{
	json_object(j, NULL);
	json_string(j, "name", what);
	json_string(j, "ph", "M");
	put_row(j, row, self);
	json_object(j, "args");
	json_string(j, "name", name);
	json_end(j);
	json_end(j);
}

void trace_write(void)
{
	struct json j = JSON_INIT(file);
	pid_t self = getpid();
	const struct event tree = { .row = TRACE_TREE }, own = { .row = TRACE_HERE, .thread = self };

	if (!file)
		return;
	json_object(&j, NULL);
	json_string(&j, "displayTimeUnit", "ms");
	json_array(&j, "traceEvents");
	put_name(&j, "process_name", title, &own, self);
	put_name(&j, "thread_name", "the tree", &tree, self);
	put_name(&j, "thread_name", "stages", &own, self);
	for (size_t i = 0; i < nevents; i++)
		if (events[i].category)
			put_event(&j, &events[i], self);
		else
			put_name(&j, "process_name", events[i].name, &events[i], self);
	json_end(&j);
	json_end(&j);
	if ((fflush(file) | ferror(file)) != 0)
		log_line(1, "the timeline is not whole: %s", strerror(errno));
	fclose(STEAL(file));
	free(STEAL(events));
	nevents = 0;
}
