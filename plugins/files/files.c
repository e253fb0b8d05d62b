/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "files": options, sections and what it claims. See files.h, files.md. */
#include "files.h"

#include <linux/capability.h>
#include <sys/sysmacros.h>

static const char *const changed_choices[] = {
	"refuse", "accept", "grew", "truncate", "embed", NULL
};

static int check_changed(const char *const *pairs, struct crcore_error *err)
{
	for (const char *const *p = pairs; p && *p; p += 2) {
		unsigned i = 0;
		while (changed_choices[i] && strcmp(changed_choices[i], p[1]) != 0)
			i++;
		if (changed_choices[i])
			continue;
		crcore_advise(err, "write refuse, accept, grew, truncate or embed");
		return crcore_fail(err, -EINVAL, "option changed: \"%s\" says nothing about %s", p[1],
		                   p[0]);
	}
	return 0;
}

static int files_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                      struct crcore_error *err)
{
	struct files *f = calloc(1, sizeof(*f));

	if (!f)
		return crcore_no_memory(err);
	f->host = host;
	f->ctx = ctx;
	f->mountinfo = -1;
	f->ghost_limit = (uint64_t)host->option(ctx, "ghost-limit")->i;
	f->link_remap = host->option(ctx, "link-remap")->b;
	f->keep_locks = host->option(ctx, "file-locks")->b;
	f->inherit = host->option(ctx, "inherit-fd")->list;
	f->changed = (enum changed)host->option(ctx, "changed-file")->i;
	f->changed_paths = host->option(ctx, "changed")->list;
	f->external = host->option(ctx, "external")->list;
	int r = check_changed(f->changed_paths, err);
	if (r < 0) {
		free(f);
		return r;
	}
	*ret_state = f;
	return 0;
}

static void files_close(void *state)
{
	struct files *f = state;

	files_forget(f);
	for (unsigned i = 0; i < f->nrecs; i++)
		files__file__free_unpacked(f->recs[i], NULL);
	free(f->recs);
	free(f->acting);
	for (unsigned i = 0; i < f->nghosts; i++)
		ghost_free(f->ghosts[i]);
	free(f->ghosts);
	for (unsigned i = 0; i < f->nposix; i++)
		files__task_lock__free_unpacked(f->posix[i], NULL);
	free(f->posix);
	free(f->outside);
	free(f);
}

/* Character devices without a state of their own. */
static bool is_plain_device(const struct stat *st)
{
	if (!S_ISCHR(st->st_mode) || major(st->st_rdev) != 1)
		return false;
	switch (minor(st->st_rdev)) {
	case 3: /* null */
	case 5: /* zero */
	case 7: /* full */
	case 8: /* random */
	case 9: /* urandom */
		return true;
	default:
		return false;
	}
}

/* What this plugin knows how to open again, if its path is found. */
static bool is_ours(const struct crcore_object *obj)
{
	/* A kernel object without a path is "kind:[number]", and some have a regular file's mode. */
	if (obj->link[0] != '/' && strncmp(obj->link, "(unreachable)", 13) != 0)
		return false;
	if (obj->flags & O_PATH)
		return true; /* the file itself is not open: any sort will do */
	return S_ISREG(obj->st.st_mode) || S_ISDIR(obj->st.st_mode) || is_plain_device(&obj->st);
}

static int refuse_locks(const struct files *f, const struct crcore_object *obj,
                        struct crcore_error *err)
{
	if (f->keep_locks || !strstr(obj->fdinfo, "lock:\t"))
		return 0;
	crcore_advise(err, "use --file-locks, or file-locks: yes in the policy");
	return crcore_fail(err, -ENOTSUP, "it is locked, and the policy does not keep locks");
}

static int files_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct files *f = state;
	struct location where;
	int r;

	if ((CRCORE_HAS(obj, locked) && obj->locked) ||
	    strstr(obj->fdinfo, "lock:\t"))
		f->locked = true; /* of whatever sort it is */
	if (files_external(f, obj))
		return CRCORE_CLAIM_NAMED;
	if (!is_ours(obj))
		return CRCORE_CLAIM_NONE;
	r = refuse_locks(state, obj, err);
	if (r == 0)
		r = files_locks(state, obj, NULL, NULL, err);
	if (r < 0)
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
	else
		r = files_locate(state, obj, &where, err);
	if (!r && where.how == FOUND_GHOST && strstr(obj->fdinfo, "LEASE")) {
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
		crcore_advise(err, "dump when the lease is not held");
		return crcore_fail(err, -ENOTSUP, "there is a lease on a file without a name");
	}
	if (!r && files_embeds(f, obj, &where) && files_ghost_bytes(&where.st) > f->ghost_limit) {
		crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
		crcore_advise(err, "raise the option ghost-limit of the plugin files (--ghost-limit)");
		return crcore_fail(err, -EFBIG, "the policy embeds it, and its contents (%llu bytes) are "
		                   "over ghost-limit", (unsigned long long)files_ghost_bytes(&where.st));
	}
	if (r < 0)
		return r;
	return is_plain_device(&obj->st) ? CRCORE_CLAIM_EXACT : CRCORE_CLAIM_GENERIC;
}

static const struct crcore_option options[] = {
	{ .name = "ghost-limit", .type = CRCORE_SIZE, .default_value = "64MiB",
	  .help = "largest contents of one file without a name (deleted, memfd) that an image takes" },
	{ .name = "link-remap", .type = CRCORE_BOOL, .default_value = "no",
	  .help = "give a hidden name to an open file whose name is deleted but which has others" },
	{ .name = "file-locks", .type = CRCORE_BOOL, .default_value = "yes",
	  .help = "save and restore locks on files; no: a locked file is refused" },
	{ .name = "changed-file", .type = CRCORE_CHOICE, .default_value = "refuse",
	  .choices = changed_choices,
	  .help = "restore with a file that is not as it was: refuse, accept, if it only grew, "
	          "truncate it to its old size, or take its contents from the image (embed)" },
	{ .name = "changed", .type = CRCORE_MAP,
	  .help = "the same by patterns of paths; the first that matches counts" },
	{ .name = "external", .type = CRCORE_LIST,
	  .help = "what stays outside: pipe[N], socket[N], file[MNT:INO], tty[RDEV:DEV], a path or "
	          "pattern" },
	{ .name = "inherit-fd", .type = CRCORE_LIST,
	  .help = "restore: \"fd[N]:PATH\" uses descriptor N of crcore in place of the file" },
	{ .name = NULL },
};

static const struct crcore_field file_fields[] = {
	{ 3, CRCORE_PATH, "path" },
	{ 21, CRCORE_PATH, "external" },
	{ 0 },
};
static const struct crcore_field ghost_fields[] = {
	{ 2, CRCORE_PATH, "path" },
	{ 3, CRCORE_PATH, "dir" },
	{ 0 },
};
static const struct crcore_field lock_fields[] = {
	{ 7, CRCORE_PATH, "path" },
	{ 0 },
};
static const struct crcore_section sections[] = {
	{ .name = "file", .version = 1, .fields = file_fields },
	{ .name = "ghost", .version = 1, .fields = ghost_fields },
	{ .name = "lock", .version = 1, .fields = lock_fields },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_DAC_OVERRIDE, "to open files whatever their mode" },
	{ CAP_FOWNER, "to read deleted files without changing their access time" },
	{ CAP_CHOWN, "to give deleted files back their owner" },
	{ 0, NULL },
};

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "files",
	.version = "1",
	.summary = "regular files, directories, plain devices, mapped and deleted files",
	.options = options,
	.sections = sections,
	.needs = needs,
	.claims = "regular files and directories (generic), null zero full random urandom (exact)",
	.open = files_open,
	.close = files_close,
	.claim = files_claim,
	.review = files_review,
	.save_object = files_save_object,
	.save = files_save,
	.load_record = files_load_record,
	.check = files_check,
	.create = files_create,
	.emit = files_emit,
	.settle = files_settle,
	.done = files_done,
};
