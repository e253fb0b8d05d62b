/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin "ipc": options, sections, hooks. See ipc.h, ipc.md. */
#include "ipc.h"

#include <linux/capability.h>

static int ipc_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                    struct crcore_error *err)
{
	struct ipc *s;

	if (!CRCORE_HAS(host, run_as))
		return crcore_fail(err, -ENOTSUP, "needs a later release of crcore");
	if (!(s = calloc(1, sizeof(*s))))
		return crcore_no_memory(err);
	s->host = host;
	s->ctx = ctx;
	s->scope = (enum scope)host->option(ctx, "scope")->i;
	s->shared = (enum shared)host->option(ctx, "shared")->i;
	s->existing = (enum existing)host->option(ctx, "existing")->i;
	s->posix_leave = host->option(ctx, "posix-memory")->i == 1;
	s->notify_zero = host->option(ctx, "notify")->i == 1;
	s->include = host->option(ctx, "include")->list;
	*ret_state = s;
	return 0;
}

static void free_msg(struct msg *m)
{
	for (unsigned i = 0; i < m->n; i++)
		ipc__message__free_unpacked(m->v[i], NULL);
	free(m->v);
	ipc__msg__free_unpacked(m->rec, NULL);
	free(m);
}

static void ipc_close(void *state)
{
	struct ipc *s = state;

	for (unsigned i = 0; i < s->nshm; i++) {
		if (s->shm[i]->fd >= 0)
			close(s->shm[i]->fd);
		ipc__shm__free_unpacked(s->shm[i]->rec, NULL);
		free(s->shm[i]);
	}
	for (unsigned i = 0; i < s->nattach; i++)
		ipc__attach__free_unpacked(s->attach[i].rec, NULL);
	for (unsigned i = 0; i < s->nsem; i++) {
		ipc__sem__free_unpacked(s->sem[i]->rec, NULL);
		free(s->sem[i]);
	}
	for (unsigned i = 0; i < s->nmsg; i++)
		free_msg(s->msg[i]);
	for (unsigned i = 0; i < s->nundos; i++)
		ipc__undo__free_unpacked(s->undos[i], NULL);
	undo_free(s);
	queue_free(s);
	memory_free(s);
	limit_free(s);
	free(s->shm);
	free(s->attach);
	free(s->sem);
	free(s->msg);
	free(s->undos);
	free(s->attached);
	free(s->waits);
	free(s);
}

/* ---- dump ---- */

static int ipc_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	if (queue_is(obj))
		return queue_claim(state, obj, err);
	return memory_is(state, obj) ? CRCORE_CLAIM_EXACT : shm_claim(state, obj, err);
}

/* What claim() has found, by what is there of it in later stages. */
static bool is_memory(const struct crcore_object *obj)
{
	return !strncmp(obj->link, MEMORY_FOLDER "/", sizeof(MEMORY_FOLDER));
}

static int ipc_review(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct ipc *s = state;

	if (obj == s->host->object(s->ctx, 0)) /* another look at the tree */
		memory_forget_users(s);
	if (is_memory(obj))
		return memory_review(s, obj, err);
	return obj->class_ == CRCORE_DESCRIPTION ? queue_review(state, obj, err) :
	                                           shm_review(state, obj, err);
}

static int ipc_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	if (is_memory(obj))
		return memory_save_object(state, obj, err);
	return obj->class_ == CRCORE_DESCRIPTION ? queue_save_object(state, obj, err) :
	                                           shm_save_object(state, obj, err);
}

static int ipc_save(void *state, struct crcore_error *err)
{
	struct ipc *s = state;
	int r;

	if ((r = limit_save(s, err)) < 0 || (r = shm_save(s, err)) < 0 || (r = sem_save(s, err)) < 0 ||
	    (r = undo_save(s, err)) < 0 || (r = queue_save(s, err)) < 0)
		return r;
	return msg_save(s, err);
}

/* ---- restore ---- */

static int ipc_create(void *state, uint32_t id, struct crcore_error *err)
{
	int fd = memory_create(state, id);

	if (fd == -ENOENT)
		fd = queue_create(state, id, err);
	return fd == -ENOENT ? shm_create(state, id, err) : fd;
}

static int ipc_map(void *state, uint32_t id, const struct crcore_mapping *const *v, uint32_t n,
                   uint64_t scratch, uint64_t scratch_len, struct crcore_program *p,
                   struct crcore_error *err)
{
	return memory_has(state, id) ? 0 : shm_map(state, id, v, n, scratch, scratch_len, p, err);
}

static int ipc_emit(void *state, const struct crcore_task *task, uint32_t phase,
                    struct crcore_program *p, struct crcore_error *err)
{
	struct ipc *s = state;

	if (phase == CRCORE_PHASE_LATE) {
		shm_emit(s, task, p);
		queue_emit(s, task, p);
	}
	undo_emit(s, task, phase, p);
	return 0;
}

static int ipc_settle(void *state, struct crcore_error *err)
{
	struct ipc *s = state;
	int r = shm_settle(s, err);

	if (r == 0)
		r = undo_settle(s, err);
	queue_settle(s);
	if (r == 0)
		r = memory_settle(s, err);
	return r < 0 ? r : limit_set(s, true, err);
}

static const char *const scope_choices[] = { "auto", "used", "all", NULL };
static const char *const shared_choices[] = { "refuse", "keep", NULL };
static const char *const existing_choices[] = { "replace", "refuse", NULL };

static const char *const posix_choices[] = { "save", "leave", NULL };
static const char *const notify_choices[] = { "refuse", "zero", NULL };

static const struct crcore_option options[] = {
	{ .name = "scope", .type = CRCORE_CHOICE, .default_value = "auto", .choices = scope_choices,
	  .help = "what of the IPC namespace is saved: what the tree uses, or all; auto: all if nobody "
	          "else is in it" },
	{ .name = "shared", .type = CRCORE_CHOICE, .default_value = "refuse", .choices = shared_choices,
	  .help = "what processes outside the tree use too: refuse, or keep it as it is" },
	{ .name = "include", .type = CRCORE_LIST,
	  .help = "more objects of the tree's: \"sem:0x1234\" by key, \"msg:7\" by id" },
	{ .name = "existing", .type = CRCORE_CHOICE, .default_value = "replace",
	  .choices = existing_choices,
	  .help = "restore: an object that the tree left behind, and nobody uses" },
	{ .name = "posix-memory", .type = CRCORE_CHOICE, .default_value = "save",
	  .choices = posix_choices,
	  .help = "POSIX shared memory and named semaphores: save the contents, or leave the files "
	          "below /dev/shm to the plugin files" },
	{ .name = "notify", .type = CRCORE_CHOICE, .default_value = "refuse", .choices = notify_choices,
	  .help = "a process that is to be told of a POSIX message by a signal, whose value is not "
	          "known: refuse, or zero" },
	{ .name = NULL },
};

static const struct crcore_field message_fields[] = {
	{ 2, CRCORE_PAYLOAD, "text" },
	{ 0 },
};
static const struct crcore_field queue_fields[] = {
	{ 2, CRCORE_PATH, "path" },
	{ 0 },
};
static const struct crcore_field queue_message_fields[] = {
	{ 3, CRCORE_PAYLOAD, "text" },
	{ 0 },
};
static const struct crcore_section sections[] = {
	{ .name = "shm", .version = 1 },
	{ .name = "attach", .version = 1 },
	{ .name = "sem", .version = 1 },
	{ .name = "undo", .version = 1 },
	{ .name = "msg", .version = 1 },
	{ .name = "message", .version = 1, .fields = message_fields },
	{ .name = "queue", .version = 1, .fields = queue_fields },
	{ .name = "open", .version = 1 },
	{ .name = "queue-message", .version = 1, .fields = queue_message_fields },
	{ .name = "memory", .version = 1, .fields = queue_fields },
	{ .name = "memory-use", .version = 1 },
	{ .name = "limit", .version = 1 },
	{ .name = NULL },
};

static const struct crcore_need needs[] = {
	{ CAP_IPC_OWNER, "to look into objects of System V IPC whatever their permissions" },
	{ CAP_SETUID, "to make them in the name of who created them" },
	{ 0, NULL },
};

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "ipc",
	.version = "1",
	.summary = "shared memory, semaphores and message queues of System V and POSIX",
	.options = options,
	.sections = sections,
	.needs = needs,
	.claims = "System V shared memory that is attached, POSIX message queues, files below "
	          MEMORY_FOLDER " (exact)",
	.open = ipc_open,
	.close = ipc_close,
	.observe = ipc_observe,
	.claim = ipc_claim,
	.review = ipc_review,
	.ask_again = undo_ask_again,
	.save_object = ipc_save_object,
	.save = ipc_save,
	.load_record = ipc_load_record,
	.check = ipc_check,
	.prepare = ipc_prepare,
	.create = ipc_create,
	.map = ipc_map,
	.emit = ipc_emit,
	.settle = ipc_settle,
};
