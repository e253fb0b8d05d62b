/* SPDX-License-Identifier: Apache-2.0 */
/* See fake-host.h. */
#include "fake-host.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* The services: a ctx is the fake, a program is the fake too. */
static struct fake *of(void *ctx) { return ctx; }

__attribute__((format(printf, 3, 4)))
static void service_log(struct crcore_ctx *ctx, int level, const char *fmt, ...)
{
}

static const struct crcore_value *service_option(struct crcore_ctx *ctx, const char *name)
{
	struct fake *f = of(ctx);

	for (unsigned i = 0; f->plugin->options && f->plugin->options[i].name; i++)
		if (!strcmp(f->plugin->options[i].name, name))
			return &f->options[i];
	return NULL;
}

static void add_record(struct fake *f, const char *section, const void *msg, size_t len)
{
	struct fake_record *r = &f->records[f->nrecords++];

	assert_in_range(f->nrecords, 1, FAKE_MAX);
	snprintf(r->section, sizeof(r->section), "%s", section);
	r->msg = memcpy(malloc(len + 1), msg, len);
	r->len = len;
}

static int service_put_record(struct crcore_ctx *ctx, const char *section, const void *msg, size_t len,
                              struct crcore_error *err)
{
	add_record(of(ctx), section, msg, len);
	return 0;
}

static int service_blob(struct crcore_ctx *ctx, const char *section, struct crcore_error *err)
{
	return of(ctx)->blob;
}

static int service_undo(struct crcore_ctx *ctx, void (*fn)(void *), void *arg, bool on_success,
                        struct crcore_error *err)
{
	struct fake *f = of(ctx);

	assert_in_range(f->nundo, 0, FAKE_MAX - 1);
	f->undo[f->nundo++] = (struct fake_undo){ fn, arg, on_success };
	return 0;
}

static const struct crcore_task *service_task(struct crcore_ctx *ctx, uint32_t i)
{
	return i < of(ctx)->ntasks ? &of(ctx)->tasks[i] : NULL;
}

static const struct crcore_object *service_object(struct crcore_ctx *ctx, uint32_t i)
{
	return i < of(ctx)->nclaimed ? of(ctx)->claimed[i] : NULL;
}

static uint32_t service_data(struct crcore_program *p, const void *bytes, size_t len)
{
	struct fake *f = of(p);

	assert_in_range(f->ndata, 0, FAKE_MAX - 1);
	f->data[f->ndata] = calloc(1, len + 1);
	if (bytes)
		memcpy(f->data[f->ndata], bytes, len);
	return f->ndata++;
}

static uint32_t service_call(struct crcore_program *p, const char *label, uint32_t nr,
                             const struct crcore_arg args[6], uint32_t expect, int64_t want)
{
	struct fake *f = of(p);
	struct fake_op *op = &f->ops[f->nops];

	assert_in_range(f->nops, 0, FAKE_MAX - 1);
	*op = (struct fake_op){ .label = label, .nr = nr, .expect = expect };
	memcpy(op->args, args, sizeof(op->args));
	return f->nops++;
}

static int64_t service_result(const struct crcore_program *p, uint32_t op) { return -ENODATA; }
static const void *service_answer(const struct crcore_program *p, uint32_t ref)
{
	return of((void *)p)->data[ref];
}

static int service_need(struct crcore_ctx *ctx, uint32_t id, struct crcore_error *err)
{
	return fake_create(of(ctx), id);
}

static int service_fetch(struct crcore_ctx *ctx, struct crcore_program *p, uint32_t id,
                         uint32_t *ret_op, struct crcore_error *err)
{
	*ret_op = service_call(p, "fetch", 0, (const struct crcore_arg[6]){ { .value = id } }, 0, 0);
	return 0;
}

static int service_hand(struct crcore_ctx *ctx, struct crcore_program *p, int fd, uint32_t *ret_op,
                        struct crcore_error *err)
{
	*ret_op = service_call(p, "hand", 0, (const struct crcore_arg[6]){ { .value = (uint64_t)fd } }, 0, 0);
	return 0;
}

/* The tree stands still, and is all that its descriptors lead to. */
static int service_found(struct crcore_ctx *ctx, int fd, struct crcore_error *err)
{
	return 1;
}

static void service_pointer(struct crcore_program *p, uint32_t at, uint64_t at_offset, uint32_t to,
                            uint64_t to_offset)
{
}

static uint32_t service_load(struct crcore_program *p, const char *label, uint32_t at, uint64_t offset)
{
	return service_call(p, label, 0, (const struct crcore_arg[6]){ { CRCORE_DATA, at, offset } }, 0, 0);
}

static uint32_t service_store(struct crcore_program *p, const char *label, uint32_t at,
                              uint64_t offset, uint32_t size, uint32_t op)
{
	return service_call(p, label, 0, (const struct crcore_arg[6]){ { CRCORE_DATA, at, offset },
	                    { CRCORE_RESULT, op, 0 } }, 0, 0);
}

static void service_alive(struct crcore_ctx *ctx)
{
}

static int service_will(struct crcore_ctx *ctx, const char *path, const char *text,
                        struct crcore_error *err)
{
	return 0;
}

static const struct crcore_host table = {
	.size = sizeof(struct crcore_host), .abi_version = CRCORE_ABI_VERSION, .log = service_log,
	.option = service_option, .put_record = service_put_record, .blob = service_blob,
	.undo = service_undo, .task = service_task, .object = service_object, .data = service_data,
	.call = service_call, .result = service_result, .answer = service_answer,
	.need = service_need, .fetch = service_fetch, .alive = service_alive,
	.will = service_will, .hand = service_hand, .found = service_found,
	.pointer = service_pointer, .load = service_load, .store = service_store,
};

/* -- life ------------------------------------------------------------------------ */

static int64_t default_number(const struct crcore_option *o)
{
	char *end;
	int64_t v;

	if (!o->default_value)
		return 0;
	for (int i = 0; o->type == CRCORE_CHOICE && o->choices[i]; i++)
		if (!strcmp(o->choices[i], o->default_value))
			return i;
	v = strtoll(o->default_value, &end, 10);
	return !strcmp(end, "MiB") ? v << 20 : !strcmp(end, "KiB") ? v << 10 : v;
}

struct fake *fake_new(const char *so)
{
	struct fake *f = calloc(1, sizeof(*f));
	static pid_t self;

	f->dl = dlopen(so, RTLD_NOW | RTLD_LOCAL);
	if (!f->dl)
		fail_msg("%s", dlerror());
	f->plugin = dlsym(f->dl, "crcore_plugin");
	assert_non_null(f->plugin);
	for (unsigned i = 0; f->plugin->options && f->plugin->options[i].name; i++) {
		const struct crcore_option *o = &f->plugin->options[i];
		f->options[i].i = default_number(o);
		f->options[i].b = o->default_value && !strcmp(o->default_value, "yes");
		f->options[i].s = o->default_value ? o->default_value : "";
	}
	f->blob = memfd_create("blob", MFD_CLOEXEC);
	for (unsigned i = 0; i < FAKE_MAX; i++)
		f->created[i] = -1;
	f->err = (struct crcore_error)CRCORE_ERROR_INIT;
	self = getpid();
	f->tasks[f->ntasks++] = (struct crcore_task){ .size = sizeof(struct crcore_task), .pid = self,
		.sid = getsid(0), .pgid = getpgrp(), .pidfd = (int)syscall(SYS_pidfd_open, self, 0), .nthreads = 1, .tids = &self,
		.state = CRCORE_TASK_RUNNING, .comm = "test" };
	return f;
}

void fake_task(struct fake *f, pid_t pid, pid_t sid)
{
	static pid_t pids[8];

	pids[f->ntasks] = pid;
	f->tasks[f->ntasks] = (struct crcore_task){ .size = sizeof(struct crcore_task), .pid = pid,
		.sid = sid, .pgid = pid, .pidfd = -1, .nthreads = 1, .tids = &pids[f->ntasks],
		.index = f->ntasks, .state = CRCORE_TASK_RUNNING, .comm = "task" };
	f->ntasks++;
}

void fake_option(struct fake *f, const char *name, struct crcore_value v)
{
	struct crcore_value *slot = (struct crcore_value *)service_option((void *)f, name);

	assert_non_null(slot);
	*slot = v;
}

void fake_open(struct fake *f)
{
	assert_int_equal(f->plugin->open(&table, (void *)f, &f->state, &f->err), 0);
}

void fake_undo(struct fake *f, bool success)
{
	while (f->nundo) {
		struct fake_undo *u = &f->undo[--f->nundo];
		if (!success || u->on_success)
			u->fn(u->arg);
	}
}

void fake_close(struct fake *f)
{
	if (f->state)
		f->plugin->close(f->state);
	f->state = NULL;
}

void fake_reopen(struct fake *f)
{
	fake_undo(f, true);
	fake_close(f);
	fake_open(f);
}

void fake_free(struct fake *f)
{
	fake_undo(f, false);
	fake_close(f);
	for (unsigned i = 0; i < f->nobjects; i++) {
		free((char *)f->objects[i].link);
		free((char *)f->objects[i].fdinfo);
		if (f->objects[i].local_fd >= 0)
			close(f->objects[i].local_fd);
	}
	for (unsigned i = 0; i < f->nrecords; i++)
		free(f->records[i].msg);
	for (unsigned i = 0; i < f->ndata; i++)
		free(f->data[i]);
	for (unsigned i = 0; i < FAKE_MAX; i++)
		if (f->created[i] >= 0)
			close(f->created[i]);
	close(f->blob);
	close(f->tasks[0].pidfd);
	dlclose(f->dl);
	free(f);
}

/* -- objects ----------------------------------------------------------------------- */

static struct crcore_object *add(struct fake *f, const char *path)
{
	struct crcore_object *o = &f->objects[f->nobjects++];
	char link[PATH_MAX];
	ssize_t n = readlink(path, link, sizeof(link) - 1);

	assert_in_range(f->nobjects, 1, FAKE_MAX);
	assert_true(n > 0);
	link[n] = '\0';
	*o = (struct crcore_object){ .size = sizeof(*o), .id = f->nobjects, .pid = getpid(), .fd = -1,
		.holders = 1, .link = strdup(link), .fdinfo = strdup("") };
	assert_int_equal(stat(path, &o->st), 0);
	return o;
}

struct crcore_object *fake_object(struct fake *f, int fd)
{
	char path[64], text[4096] = "";
	struct crcore_object *o;
	const char *mnt;
	ssize_t n;
	int in;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	o = add(f, path);
	o->class_ = CRCORE_DESCRIPTION;
	o->fd = fd;
	o->local_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	o->flags = (uint32_t)fcntl(fd, F_GETFL);
	o->pos = lseek(fd, 0, SEEK_CUR);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	in = open(path, O_RDONLY | O_CLOEXEC);
	n = read(in, text, sizeof(text) - 1);
	assert_true(n > 0);
	close(in);
	free((char *)o->fdinfo);
	o->fdinfo = strdup(text);
	mnt = strstr(text, "mnt_id:");
	o->mnt_id = mnt ? (uint32_t)atoi(mnt + 7) : 0;
	return o;
}

struct crcore_object *fake_file(struct fake *f, const char *proc_path, uint32_t use, uint32_t flags)
{
	struct crcore_object *o = add(f, proc_path);

	o->class_ = CRCORE_FILE;
	o->use = use;
	o->flags = flags;
	o->local_fd = open(proc_path, O_PATH | O_CLOEXEC);
	return o;
}

int fake_claim(struct fake *f, const struct crcore_object *o)
{
	f->err = (struct crcore_error)CRCORE_ERROR_INIT;
	return f->plugin->claim(f->state, o, &f->err);
}

int fake_save(struct fake *f)
{
	int r = 0;

	f->nclaimed = 0;
	for (unsigned i = 0; i < f->nobjects; i++) {
		r = fake_claim(f, &f->objects[i]);
		if (r < 0)
			return r;
		if (r)
			f->claimed[f->nclaimed++] = &f->objects[i];
	}
	r = 0;
	for (unsigned i = 0; !r && f->plugin->review && i < f->nclaimed; i++) {
		int fd = f->claimed[i]->local_fd;
		f->claimed[i]->local_fd = -1;
		r = f->plugin->review(f->state, f->claimed[i], &f->err);
		f->claimed[i]->local_fd = fd;
	}
	if (!r && f->plugin->hold)
		r = f->plugin->hold(f->state, &f->err);
	for (unsigned i = 0; !r && i < f->nclaimed; i++)
		r = f->plugin->save_object(f->state, f->claimed[i], &f->err);
	if (!r && f->plugin->save)
		r = f->plugin->save(f->state, &f->err);
	return r;
}

int fake_load(struct fake *f)
{
	int r = 0;

	f->err = (struct crcore_error)CRCORE_ERROR_INIT;
	for (unsigned i = 0; !r && i < f->nrecords; i++)
		r = f->plugin->load_record(f->state, f->records[i].section, 1, f->records[i].msg,
		                           f->records[i].len, &f->err);
	if (!r && f->plugin->check)
		r = f->plugin->check(f->state, &f->err);
	return r;
}

int fake_create(struct fake *f, uint32_t id)
{
	assert_in_range(id, 1, FAKE_MAX - 1);
	if (f->created[id] < 0)
		f->created[id] = f->plugin->create(f->state, id, &f->err);
	return f->created[id];
}

/* -- damage ------------------------------------------------------------------------------ */

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* A few bytes differ; sometimes the end is cut off. */
static void harm(struct fake_record *r, uint32_t *seed)
{
	uint8_t *at = r->msg;

	for (unsigned i = next(seed) % 4 + 1; i && r->len; i--)
		at[next(seed) % r->len] = (uint8_t)(next(seed) % 3 ? next(seed) : next(seed) % 2 ? 0xff : 0);
	if (next(seed) % 8 == 0 && r->len)
		r->len = next(seed) % r->len;
}

static uint8_t *put_number(uint8_t *at, uint64_t v)
{
	for (; v > 0x7f; v >>= 7)
		*at++ = (uint8_t)(v | 0x80);
	*at++ = (uint8_t)v;
	return at;
}

void fake_put_number(struct fake_bytes *b, unsigned field, uint64_t v)
{
	assert_in_range(b->len, 0, sizeof(b->v) - 16);
	b->len = (size_t)(put_number(put_number(b->v + b->len, (uint64_t)field << 3), v) - b->v);
}

void fake_put(struct fake_bytes *b, unsigned field, const void *p, size_t len)
{
	assert_in_range(b->len + len, 0, sizeof(b->v) - 16);
	uint8_t *at = put_number(put_number(b->v + b->len, (uint64_t)field << 3 | 2), len);

	memcpy(at, p, len);
	b->len = (size_t)(at + len - b->v);
}

void fake_add(struct fake *f, const char *section, const struct fake_bytes *b)
{
	add_record(f, section, b->v, b->len);
}

/* One field more, as no dump would write it: of a field that is there already the last counts,
 * if it is no list. */
static void forge(struct fake_record *r, uint32_t *seed)
{
	static const uint64_t numbers[] = { 0, 1, 2, 3, 7, 0x80, 0xfff, 0x10000, INT32_MAX, UINT32_MAX,
		1ull << 40, INT64_MAX, UINT64_MAX };
	static const char *const words[] = { "", "/", "/x", "a", "..", "/../x", "\xff" };
	uint32_t field = next(seed) % 40 + 1, how = next(seed) % 8;
	const char *word = words[next(seed) % (sizeof(words) / sizeof(*words))];
	uint8_t *at = (uint8_t *)r->msg + r->len;

	if (how < 5) {
		at = put_number(at, field << 3);
		at = put_number(at, numbers[next(seed) % (sizeof(numbers) / sizeof(*numbers))]);
	} else if (how < 7) {
		at = put_number(at, field << 3 | 2);
		at = put_number(at, strlen(word));
		at = (uint8_t *)memcpy(at, word, strlen(word)) + strlen(word);
	} else { /* bytes that begin with 0, or a record in the record that says field 1 is 0 */
		at = put_number(at, field << 3 | 2);
		at = put_number(at, 2);
		memcpy(at, next(seed) % 2 ? "\0x" : "\x08\0", 2);
		at += 2;
	}
	r->len = (size_t)(at - (uint8_t *)r->msg);
}
#define FORGED_MAX 32 /* bytes of one field */

unsigned fake_damage(struct fake *f, unsigned times)
{
	struct fake_record good[FAKE_MAX];
	unsigned refused = 0;
	uint32_t seed = 1;

	memcpy(good, f->records, sizeof(good));
	for (unsigned i = 0; i < times; i++) {
		for (unsigned k = 0; k < f->nrecords; k++) {
			f->records[k].len = good[k].len;
			f->records[k].msg = malloc(good[k].len + 4 * FORGED_MAX);
			assert_non_null(f->records[k].msg);
			if (good[k].len)
				memcpy(f->records[k].msg, good[k].msg, good[k].len);
		}
		struct fake_record *victim = f->nrecords ? &f->records[next(&seed) % f->nrecords] : NULL;
		unsigned fields = victim ? next(&seed) % 4 + !victim->len : 0;
		if (victim && !fields)
			harm(victim, &seed);
		for (; fields; fields--)
			forge(victim, &seed);
		fake_reopen(f);
		refused += fake_load(f) < 0;
		for (unsigned k = 0; k < f->nrecords; k++)
			free(f->records[k].msg);
	}
	memcpy(f->records, good, sizeof(good));
	return refused;
}
