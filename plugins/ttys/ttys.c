/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "ttys": options, sections and what it claims. See ttys.h, ttys.md. */
#include "ttys.h"

#include <linux/capability.h>

static int ttys_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                     struct crcore_error *err)
{
	struct ttys *t = calloc(1, sizeof(*t));

	if (!t)
		return crcore_no_memory(err);
	t->host = host;
	t->ctx = ctx;
	t->external = (enum external)host->option(ctx, "external")->i;
	t->consoles = (enum consoles)host->option(ctx, "consoles")->i;
	t->renumber = host->option(ctx, "renumber")->b;
	*ret_state = t;
	return 0;
}

static void ttys_close(void *state)
{
	struct ttys *t = state;

	for (unsigned i = 0; i < t->nmade; i++) {
		if (t->made[i]->rec)
			ttys__terminal__free_unpacked(t->made[i]->rec, NULL);
		if (t->made[i]->master >= 0)
			close(t->made[i]->master);
		if (t->made[i]->device >= 0)
			close(t->made[i]->device);
		if (t->made[i]->slave >= 0)
			close(t->made[i]->slave);
		free(t->made[i]);
	}
	numbers_release(t);
	for (unsigned i = 0; i < t->nends; i++)
		ttys__end__free_unpacked(t->ends[i], NULL);
	for (unsigned i = 0; i < t->nsessions; i++)
		ttys__session__free_unpacked(t->sessions[i], NULL);
	free(t->made);
	free(t->ends);
	free(t->sessions);
	free(t->known);
	free(t);
}

static bool is_terminal(const struct crcore_object *obj)
{
	struct termios2 termios;

	if (!S_ISCHR(obj->st.st_mode) || obj->class_ != CRCORE_DESCRIPTION || obj->flags & O_PATH)
		return false;
	if (major(obj->st.st_rdev) == TTYAUX_MAJOR || ttys_is_pts(obj->st.st_rdev))
		return true;
	return ioctl(obj->local_fd, TCGETS2, &termios) == 0;
}

static int claim(const struct crcore_object *obj, struct crcore_error *err)
{
	int discipline = 0;

	if (strstr(obj->fdinfo, "lock:\t")) {
		crcore_advise(err, "dump when the lock is not held");
		return crcore_fail(err, -ENOTSUP, "there is a lock on it, which cannot be saved");
	}
	if (ioctl(obj->local_fd, TIOCGETD, &discipline) == 0 && discipline != N_TTY) {
		crcore_advise(err, "end the connection that uses it");
		return crcore_fail(err, -ENOTSUP, "its line discipline %d (0 is that of terminals) cannot "
		                   "be saved", discipline);
	}
	if (console_is(obj->st.st_rdev) && console_claim(obj, err) < 0)
		return err->code;
	return CRCORE_CLAIM_EXACT;
}

static int ttys_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	int r;

	if (!is_terminal(obj))
		return CRCORE_CLAIM_NONE;
	r = claim(obj, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	return r;
}

static const char *const external_choices[] = { "job", "inherit", "refuse", NULL };

static const char *const consoles_choices[] = { "reopen", "external", NULL };

static const struct crcore_option options[] = {
	{ .name = "external", .type = CRCORE_CHOICE, .default_value = "job",
	  .choices = external_choices,
	  .help = "a terminal from outside the tree becomes that of crcore restore: only of a job of a "
	          "shell (--shell-job), always (inherit), or refuse" },
	{ .name = "consoles", .type = CRCORE_CHOICE, .default_value = "reopen",
	  .choices = consoles_choices,
	  .help = "a console or serial line that is not the terminal of a job: open the same device "
	          "again, or take it for a terminal from outside (external)" },
	{ .name = "renumber", .type = CRCORE_BOOL, .default_value = "no",
	  .help = "give a pseudo-terminal another number (/dev/pts/N) if its own is taken" },
	{ .name = NULL },
};

static const struct crcore_field terminal_fields[] = {
	{ 14, CRCORE_PAYLOAD, "to_slave" },
	{ 15, CRCORE_PAYLOAD, "to_master" },
	{ 18, CRCORE_PATH, "path" },
	{ 0 },
};
static const struct crcore_section sections[] = {
	{ .name = "terminal", .version = 1, .fields = terminal_fields },
	{ .name = "end", .version = 1 },
	{ .name = "session", .version = 1 },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_CHOWN, "to give a pseudo-terminal back its owner" },
	{ 0, NULL },
};

CRCORE_ONLY_FOR(CRCORE_TYPE(S_IFCHR), "");
CRCORE_NOT_FOR_DEVICES(MEM_MAJOR); /* /dev/null, zero, random: all that the kernel numbers so */

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "ttys",
	.version = "1",
	.summary = "pseudo-terminals, controlling terminals, the terminal of a shell's job",
	.options = options,
	.sections = sections,
	.needs = needs,
	.claims = "terminals: both sides of pseudo-terminals, /dev/tty, consoles (exact)",
	.open = ttys_open,
	.close = ttys_close,
	.claim = ttys_claim,
	.review = ttys_review,
	.save_object = ttys_save_object,
	.save = ttys_save,
	.load_record = ttys_load_record,
	.check = ttys_check,
	.plan = ttys_plan,
	.create = ttys_create,
	.emit = ttys_emit,
	.settle = ttys_settle,
};
