/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugin that misbehaves on demand: the environment variable MISBEHAVE says
 * how. Empty or unset, it is a good plugin that saves and restores /dev/kmsg
 * (its flags only) and holds a file that it makes outside the tree.
 *
 *   WHAT          at load: what is wrong with the struct (see spoil())
 *   fail:HOOK     the hook fails and says why
 *   silent:HOOK   the hook fails and does not say why
 *   odd:HOOK      the hook returns a number that is no errno
 *   hang:HOOK     the hook blocks in a system call, for ever
 *   spin:HOOK     the hook computes, for ever, in and out of malloc
 *   kill:HOOK     the hook ends the process that it runs in by SIGKILL
 *
 * HOOK may also be "undo", or "load" for the constructor. Built a second time with -DNO_SYMBOL (nothing is
 * exported), with -DUNDEFINED (a symbol that nobody has), and with -DNAME=... as one that is
 * only loaded for sockets (-DHASTY: although it has hooks that come before).
 */
#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct state {
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	uint32_t id, flags;
	char mark[256]; /* the file that hold makes, "" without one */
};

#ifdef NAME
CRCORE_ONLY_FOR(CRCORE_TYPE(S_IFSOCK) | CRCORE_TYPE(S_IFCHR), "/waits/");
CRCORE_NOT_FOR_DEVICES(1, 7);
#else
#define NAME "misbehave"
#define HASTY
#endif

#ifdef UNDEFINED
extern int misbehave_undefined(void);
int (*misbehave_needs)(void);
#endif

static const char *way(void)
{
	const char *w = getenv("MISBEHAVE");
	return w ? w : "";
}

static void spin(void)
{
	for (unsigned i = 1; ; i++) {
		void *p = malloc(i % 5000 + 1);
		memset(p, 1, i % 5000 + 1);
		free(p);
	}
}

/* What every hook does first. */
static int act(const char *hook, struct crcore_error *err)
{
	const char *w = way();
	const char *colon = strchr(w, ':');

	if (!colon || strcmp(colon + 1, hook))
		return 0;
	if (!strncmp(w, "hang:", 5))
		for (;;)
			pause();
	if (!strncmp(w, "spin:", 5))
		spin();
	if (!strncmp(w, "kill:", 5))
		kill(getpid(), SIGKILL);
	if (!strncmp(w, "silent:", 7))
		return -EIO;
	if (!strncmp(w, "odd:", 4))
		return -99999;
	if (!strncmp(w, "fail:", 5)) {
		crcore_advise(err, "unset MISBEHAVE");
		return crcore_fail(err, -EIO, "was told to fail in %s", hook);
	}
	return 0;
}

static int do_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                   struct crcore_error *err)
{
	int rc = act("open", err);
	if (rc < 0)
		return rc;
	struct state *s = calloc(1, sizeof(*s));
	if (!s)
		return crcore_fail(err, -ENOMEM, "out of memory");
	s->host = host;
	s->ctx = ctx;
	snprintf(s->mark, sizeof(s->mark), "%s", host->option(ctx, "mark")->s);
	*ret_state = s;
	return 0;
}

static void do_close(void *state)
{
	act("close", NULL);
	free(state);
}

__attribute__((unused)) static int do_observe(void *state, struct crcore_error *err)
{
	return act("observe", err);
}

static int do_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	if (obj->class_ != CRCORE_DESCRIPTION || !S_ISCHR(obj->st.st_mode) ||
	    obj->st.st_rdev != makedev(1, 11))
		return CRCORE_CLAIM_NONE;
	int rc = act("claim", err);
	return rc < 0 ? rc : CRCORE_CLAIM_EXACT;
}

static int do_review(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	return act("review", err);
}

static int do_ask(void *state, const struct crcore_task *task, struct crcore_program *program,
                  struct crcore_error *err)
{
	return act("ask", err);
}

static void take_back(void *arg)
{
	struct state *s = arg;

	act("undo", NULL);
	unlink(s->mark);
}

static int do_hold(void *state, struct crcore_error *err)
{
	struct state *s = state;
	int rc = 0;

	if (s->mark[0]) {
		rc = s->host->undo(s->ctx, take_back, s, true, err);
		if (rc == 0)
			close(open(s->mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	}
	return rc < 0 ? rc : act("hold", err);
}

static int do_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct state *s = state;
	unsigned char msg[10] = { 0x0d, 0, 0, 0, 0, 0x15 }; /* fixed32 fields 1 and 2 */
	int rc = act("save_object", err);

	memcpy(msg + 1, &obj->id, 4);
	memcpy(msg + 6, &obj->flags, 4);
	return rc < 0 ? rc : s->host->put_record(s->ctx, "held", msg, sizeof(msg), err);
}

static int do_save(void *state, struct crcore_error *err)
{
	return act("save", err);
}

static int do_load_record(void *state, const char *section, uint32_t version, const void *msg,
                          size_t len, struct crcore_error *err)
{
	struct state *s = state;
	int rc = act("load_record", err);

	if (rc < 0)
		return rc;
	if (len != 10)
		return crcore_fail(err, -EBADMSG, "a record has %zu bytes instead of 10", len);
	memcpy(&s->id, (const char *)msg + 1, 4);
	memcpy(&s->flags, (const char *)msg + 6, 4);
	return 0;
}

static int do_check(void *state, struct crcore_error *err)
{
	return act("check", err);
}

static int do_prepare(void *state, struct crcore_error *err)
{
	return act("prepare", err);
}

static int do_plan(void *state, uint32_t id, uint32_t *ret_needs, uint32_t max,
                   struct crcore_error *err)
{
	return act("plan", err);
}

static int do_create(void *state, uint32_t id, struct crcore_error *err)
{
	struct state *s = state;
	int rc = act("create", err);

	if (rc < 0)
		return rc;
	rc = open("/dev/kmsg", (int)s->flags & (O_ACCMODE | O_NONBLOCK));
	return rc < 0 ? crcore_fail(err, -errno, "/dev/kmsg: %s", strerror(errno)) : rc;
}

static int do_emit(void *state, const struct crcore_task *task, uint32_t phase,
                   struct crcore_program *program, struct crcore_error *err)
{
	return act("emit", err);
}

static int do_settle(void *state, struct crcore_error *err)
{
	return act("settle", err);
}

static int do_release(void *state, struct crcore_error *err)
{
	return act("release", err);
}

static const struct crcore_option options[] = {
	{ "mark", CRCORE_STRING, "", NULL, 0, 0, "file that exists while the tree is held" },
	{ NULL, 0, NULL, NULL, 0, 0, NULL },
};
static const struct crcore_option bad_options[] = {
	{ "time-limit", CRCORE_SECONDS, "1s", NULL, 0, 0, "the host's own" },
	{ NULL, 0, NULL, NULL, 0, 0, NULL },
};
static const struct crcore_section sections[] = { { "held", 1, NULL }, { NULL, 0, NULL } };
static const struct crcore_section bad_sections[] = { { "held", 0, NULL }, { NULL, 0, NULL } };
static const char *const nobody[] = { "nobody-at-all", NULL };
static const char *const maybe[] = { "?nobody-at-all", NULL };
static const char *const itself[] = { "misbehave", NULL };
static const struct crcore_order order_nobody[] = { { NULL, nobody, NULL }, { NULL, NULL, NULL } };
static const struct crcore_order order_maybe[] = { { "save", maybe, NULL }, { NULL, NULL, NULL } };
static const struct crcore_order order_stage[] = { { "lunch", maybe, NULL }, { NULL, NULL, NULL } };
static const struct crcore_order order_itself[] = { { "create", itself, NULL }, { NULL, NULL, NULL } };

/* Not const, and with a tail, so that spoil() can be a newer plugin. */
struct exported {
	struct crcore_plugin p;
	void *field_of_the_future;
};

#ifdef NO_SYMBOL
static
#else
CRCORE_EXPORT
#endif
struct exported crcore_plugin = {
	.p = {
		CRCORE_PLUGIN_HEADER,
		.name = NAME,
		.version = "1",
		.summary = "misbehaves on demand",
		.options = options,
		.sections = sections,
		.order = order_maybe,
		.claims = "/dev/kmsg (exact)",
		.open = do_open,
		.close = do_close,
#ifdef HASTY
		.observe = do_observe,
#endif
		.claim = do_claim,
		.ask = do_ask,
		.hold = do_hold,
		.save_object = do_save_object,
		.save = do_save,
		.load_record = do_load_record,
		.check = do_check,
		.plan = do_plan,
		.create = do_create,
		.emit = do_emit,
		.settle = do_settle,
		.release = do_release,
		.review = do_review,
		.prepare = do_prepare,
	},
};

/* Runs when the object is loaded, before anybody looks at the struct. */
__attribute__((constructor)) static void spoil(void)
{
	struct exported *e = &crcore_plugin;
	struct crcore_plugin *p = &e->p;
	const char *w = way();

#define IF(what) else if (!strcmp(w, what))
	act("load", NULL);
	if (!*w)
		return;
	IF("no-open") p->open = NULL;
	IF("no-close") p->close = NULL;
	IF("no-claim") p->claim = NULL;
	IF("no-create") p->create = NULL;
	IF("no-load-record") p->load_record = NULL;
	IF("no-sections") p->sections = NULL;
	IF("no-name") p->name = NULL;
	IF("no-version") p->version = NULL;
	IF("bad-name") p->name = "Not A Name";
	IF("other-name") p->name = "somebody-else";
	IF("bad-section") p->sections = bad_sections;
	IF("bad-option") p->options = bad_options;
	IF("size-zero") p->size = 0;
	IF("size-small") p->size = 40;
	IF("size-huge") p->size = 1u << 20;
	IF("abi-zero") p->abi_version = 0;
	IF("abi-newer") p->abi_version = CRCORE_ABI_VERSION + 1;
	IF("field-newer") {
		p->size = sizeof(*e);
		e->field_of_the_future = p;
	}
	IF("field-newer-unused") p->size = sizeof(*e);
	IF("older") { /* all that the first plugins had to have */
		p->size = offsetof(struct crcore_plugin, observe);
		p->sections = NULL;
		p->observe = NULL;
	}
	IF("order-nobody") p->order = order_nobody;
	IF("order-stage") p->order = order_stage;
	IF("order-itself") p->order = order_itself;
#ifdef UNDEFINED
	misbehave_needs = misbehave_undefined;
#endif
}
