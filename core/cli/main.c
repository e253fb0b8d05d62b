/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main(): arguments, policy, command, report. Exit status: 0 done, 1 failed,
 * 2 bad usage; a restore in the foreground ends as the restored root task did.
 */
#include "core/cli/flags.h"
#include "core/image/image.h"
#include "core/util/json.h"
#include "core/util/trace.h"
#include "core/util/util.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* O_TRUNC may take as long as 0.3 ms (ext4), even for a file that was made just now. */
static int empty(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -1;
	return S_ISREG(st.st_mode) && st.st_size ? ftruncate(fd, 0) : 0;
}

static int open_log(struct command *c, struct crcore_error *err)
{
	cleanup_close int fd = -1;

	if (c->log_file && ((fd = open(c->log_file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) < 0 ||
	                    empty(fd) < 0)) {
		int code = -errno;
		crcore_fail_at(err, -1, -1, "%s", c->log_file);
		c->log_file = NULL;
		return crcore_fail(err, code, "cannot write the log: %s", strerror(-code));
	}
	log_open(STEAL_FD(fd), c->verbosity);
	return 0;
}

static int flush_output(struct crcore_error *err)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	return crcore_fail(err, -EIO, "cannot write to standard output");
}

/* For commands that print no result. A restore that waited says how the root task ended. */
static void print_done(const struct command *c, int status)
{
	struct json j = JSON_INIT(stdout);

	json_object(&j, NULL);
	json_string(&j, "command", c->verb);
	json_bool(&j, "done", true);
	if (!strcmp(c->verb, "restore") && !policy_core(c->policy, "restore.detached")->b)
		json_int(&j, "status", status);
	json_end(&j);
}

static int run(struct args *a, struct crcore_error *err)
{
	struct command *c = &a->command;
	int r = open_log(c, err);
	int status;

	if (r >= 0 && a->verb->bit == V_RESTORE && c->stream)
		r = stream_receive(c, err);
	if (r >= 0)
		r = args_policy(a, err);
	if (r >= 0 && c->trace)
		r = trace_open(c->trace, a->verb->name, err);
	if (r >= 0)
		r = a->verb->run(c, err);
	if (r < 0)
		return r;
	status = r;
	if (c->json && a->verb->quiet && !c->plan)
		print_done(c, status);
	r = flush_output(err);
	return r < 0 ? r : status;
}

static int print_help(const struct args *a, struct crcore_error *err)
{
	if (a->version)
		printf("crcore %s\n", CRCORE_VERSION);
	else if (a->man)
		help_man(stdout);
	else
		help_print(stdout, a->verb);
	return flush_output(err);
}

/* Programs that asked for JSON get it for wrong usage too. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--json"))
			return true;
	return false;
}

/* A shell's soft limit is for programs that use select(2). A dump has a few descriptors for each
 * process of the tree, a restore all of a task's: up to the hard one. */
static void allow_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

int main(int argc, char **argv)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct args args;
	bool json = wants_json(argc, argv);
	int failed = EXIT_USAGE;
	int r = args_parse(&args, argc, argv, &err);

	allow_descriptors();
	if (r >= 0) {
		failed = EXIT_FAILED;
		r = args.help || args.version ? print_help(&args, &err) : run(&args, &err);
	}
	received_end(&args.command, r >= 0, &err);
	if (r < 0) {
		if (!err.code)
			err.code = r;
		advise_by_limit(&err);
		if (args.command.log_file)
			log_error(0, &err);
		report_error(&err, json);
		fflush(stdout);
	}
	args_free(&args);
	return r < 0 ? failed : r & 0xff;
}
