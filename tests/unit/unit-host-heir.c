/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin host and the process that does the rest when crcore is killed. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "made-up.h"

struct told {
	char *text;  /* in shared memory */
	char letter;
	bool deadly; /* for whoever is not the heir */
	pid_t worker;
};

static void tell(void *arg)
{
	const struct told *t = arg;

	t->text[strlen(t->text)] = t->letter;
	if (t->deadly && getpid() == t->worker)
		raise(SIGKILL);
}

static void tell_late(void *arg)
{
	host_undo(arg, true);
}

/* A process that is killed in the second of three entries, the first of which is done. */
static void heir_does_the_rest(void **state)
{
	char *text = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct made_up *m = *state;
	int fds[2];

	assert_true(text != MAP_FAILED && pipe(fds) == 0);
	pid_t pid = fork();
	if (!pid) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct told told[4];
		for (int i = 0; i < 4; i++) {
			told[i] = (struct told){ text, (char)('1' + i), i == 1, getpid() };
			host_undo_push(&m->h, i ? &m->ctx[0] : NULL, tell, &told[i], i != 2, NULL);
		}
		if (!host_undo_waits(&m->h) || host_heir(&m->h, NULL, tell_late, &m->h, &err) < 0)
			_exit(1);
		host_undo(&m->h, true);
		_exit(2);
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], text + 1, 1), 0); /* both have ended */
	close(fds[0]);
	assert_int_equal(waitpid(pid, fds, 0), pid);
	assert_true(WIFSIGNALED(fds[0]));
	assert_string_equal(text, "4221");
	munmap(text, 4096);
}

static void heir_that_is_not_needed(void **state)
{
	struct made_up *m = *state;
	struct crcore_error err = CRCORE_ERROR_INIT;

	assert_int_equal(host_heir(&m->h, tell_late, tell_late, &m->h, &err), 0);
	host_heir_end(&m->h);
	host_heir_end(&m->h);
	assert_int_equal(waitpid(-1, NULL, 0), -1); /* it is gone */
}

int main(void)
{
	const struct CMUnitTest tests[] = { T(heir_does_the_rest), T(heir_that_is_not_needed) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
