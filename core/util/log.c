/* SPDX-License-Identifier: Apache-2.0 */
/* The log: one line a message, time since start, to stderr or a file. */
#include <fcntl.h>
#include <stdarg.h>
#include "core/util/util.h"

int log_level = 1;
static FILE *log_stream;
static uint64_t log_start;

void log_open(const char *path, int level)
{
	log_level = level;
	log_start = now_ns();
	if (path)
		log_stream = fopen(path, "we");
	if (log_stream)
		setvbuf(log_stream, NULL, _IOLBF, 0);
}

int log_descriptor(void)
{
	return fileno(log_stream ? log_stream : stderr);
}

void log_line(int level, const char *fmt, ...)
{
	static const char *const word[] = { "Error", "Warning", "Info", "Debug" };
	va_list ap;

	if (level > log_level)
		return;
	FILE *f = log_stream ? log_stream : stderr;
	uint64_t t = log_start ? now_ns() - log_start : 0;
	fprintf(f, "%3u.%06u %s: ", (unsigned)(t / 1000000000u), (unsigned)(t / 1000 % 1000000),
	        word[level < 0 ? 0 : level > 3 ? 3 : level]);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fputc('\n', f);
}
