/* SPDX-License-Identifier: Apache-2.0 */
/* How crcore tells of an error. It is one line, whatever is in it, since scripts read it. */
#include "core/cli/cli.h"
#include "core/util/json.h"
#include "core/util/text.h"
#include "core/util/util.h"

static void error_json(const struct crcore_error *err)
{
	struct json j = JSON_INIT(stdout);
	char line[ERROR_TEXT_MAX];

	json_object(&j, NULL);
	json_object(&j, "error");
	json_int(&j, "errno", -err->code);
	if (err->plugin[0])
		json_string(&j, "plugin", err->plugin);
	if (err->pid >= 0)
		json_int(&j, "pid", err->pid);
	if (err->fd >= 0)
		json_int(&j, "fd", err->fd);
	if (err->object[0])
		json_string(&j, "object", err->object);
	json_string(&j, "message", err->message[0] ? err->message : strerror(-err->code));
	if (err->advice[0])
		json_string(&j, "advice", err->advice);
	json_string(&j, "text", error_text(err, line));
	json_end(&j);
	json_end(&j);
}

/* Whatever runs into a limit of crcore itself, it is raised in the same way. */
void advise_by_limit(struct crcore_error *err)
{
	if (err->code == -EMFILE)
		crcore_advise(err, "raise the limit of open files that crcore runs with (ulimit -n, "
		              "systemd: LimitNOFILE=)");
	else if (err->code == -ENFILE)
		crcore_advise(err, "raise the limit of open files of the machine (sysctl fs.file-max)");
}

void report_error(const struct crcore_error *err, bool json)
{
	char line[ERROR_TEXT_MAX];

	if (isatty(STDERR_FILENO)) /* progress may stand there */
		fputs("\r\033[K", stderr);
	if (json) {
		error_json(err);
		return;
	}
	fprintf(stderr, "Error: %s\n", error_text(err, line));
}
