/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: one line a message, time since start, to stderr or a file. Names of files and tasks
 * are in it, and terminals obey control characters: none gets there.
 */
#include <fcntl.h>
#include <stdarg.h>
#include "core/util/text.h"
#include "core/util/util.h"

#define LOG_LINE_MAX 4096

int log_level = 1;
static FILE *log_stream;
static uint64_t log_start;

void log_open(int fd, int level)
{
	log_level = level;
	log_start = now_ns();
	if (fd >= 0)
		log_stream = fdopen(fd, "w");
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
	char text[LOG_LINE_MAX], line[LOG_LINE_MAX];
	va_list ap;

	if (level > log_level)
		return;
	uint64_t t = log_start ? now_ns() - log_start : 0;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	line_text(line, sizeof(line), text);
	fprintf(log_stream ? log_stream : stderr, "%3u.%06u %s: %s\n", (unsigned)(t / 1000000000u),
	        (unsigned)(t / 1000 % 1000000), word[level < 0 ? 0 : level > 3 ? 3 : level], line);
}

void log_error(int level, const struct crcore_error *err)
{
	char text[ERROR_TEXT_MAX];

	log_line(level, "%s", error_text(err, text));
}
