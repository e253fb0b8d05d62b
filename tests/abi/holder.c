/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holder MARK BEAT: a process worth a checkpoint. Reads the kernel's log, one
 * record at a time, from where it ends now; prints what stands behind MARK in
 * each record that has it, and ends at "MARK end". BEAT is a file in which it
 * counts, so that one can see that it runs. It sets its memory failure policy
 * at the start and prints it at the end ("mce 1" if it is what it was).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what)
{
	dprintf(2, "holder: %s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	int beat = argc == 3 ? open(argv[2], O_WRONLY | O_CREAT, 0600) : -1;
	char text[8193];

	if (log < 0 || beat < 0 || lseek(log, 0, SEEK_END) < 0 ||
	    prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) < 0)
		return fail("start");
	for (unsigned long count = 1; ; count++) {
		int len = snprintf(text, sizeof(text), "%lu\n", count);
		if (pwrite(beat, text, (size_t)len, 0) != len)
			return fail("beat");
		ssize_t n = read(log, text, sizeof(text) - 1);
		if (n < 0 && errno != EAGAIN && errno != EPIPE)
			return fail("/dev/kmsg");
		text[n < 0 ? 0 : n] = 0;
		char *mark = strstr(text, argv[1]);
		if (mark) {
			char *rest = mark + strlen(argv[1]) + 1;
			rest[strcspn(rest, "\n")] = 0;
			dprintf(1, "%s\n", rest);
			if (!strcmp(rest, "end")) {
				dprintf(1, "mce %d\n", prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
				return 0;
			}
		}
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
}
