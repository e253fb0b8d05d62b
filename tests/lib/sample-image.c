/* SPDX-License-Identifier: Apache-2.0 */
/* See sample-image.h. */
#include "tests/lib/sample-image.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/user.h>
#include "core/util/util.h"

#define TEXT 0x400000ull
#define HEAP 0x600000ull
#define STACK 0x7ffd00000000ull
#define SHARED 0x7f0000000000ull

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

#define NEW(type, init) ({ type *m_ = must(malloc(sizeof(*m_))); init(m_); m_; })

/* Appends to a repeated field. */
#define ADD(m, field, value) do { \
	(m)->field = must(realloc((m)->field, ((m)->n_##field + 1) * sizeof(*(m)->field))); \
	(m)->field[(m)->n_##field++] = (value); \
} while (0)
/* Appends to an array of struct core_records. */
#define KEEP(v, n, value) do { if (!GROW(v, n)) abort(); (v)[(n)++] = (value); } while (0)

static ProtobufCBinaryData zeroes(size_t len)
{
	return (ProtobufCBinaryData){ len, must(calloc(1, len)) };
}

static Crcore__Thread *thread(uint32_t tid, const char *comm)
{
	Crcore__Thread *t = NEW(Crcore__Thread, crcore__thread__init);

	t->tid = tid;
	t->comm = must(strdup(comm));
	t->regs = zeroes(sizeof(struct user_regs_struct));
	t->xstate = zeroes(832);
	t->altstack = zeroes(sizeof(stack_t));
	t->affinity = zeroes(8);
	t->sched_attr = zeroes(56);
	t->creds = NEW(Crcore__Creds, crcore__creds__init);
	ADD(t->creds, groups, 27);
	return t;
}

static Crcore__Task *task(uint32_t pid, uint32_t ppid, const char *comm, uint32_t mm)
{
	Crcore__Task *t = NEW(Crcore__Task, crcore__task__init);

	t->pid = pid;
	t->ppid = ppid;
	t->pgid = t->sid = SAMPLE_ROOT;
	t->state = CRCORE__TASK_STATE__RUNNING;
	t->exit_signal = SIGCHLD;
	t->mm = mm;
	t->files = t->fs = 1;
	t->sighand = mm;
	ADD(t, threads, thread(pid, comm));
	for (int i = 0; i < 16; i++)
		ADD(t, rlimits, NEW(Crcore__Rlimit, crcore__rlimit__init));
	for (int i = 0; i < 3; i++)
		ADD(t, itimers, NEW(Crcore__Itimer, crcore__itimer__init));
	return t;
}

static void add_tasks(struct core_records *c)
{
	Crcore__Task *t = task(SAMPLE_ROOT, 1, "sample", 1);
	Crcore__PosixTimer *timer = NEW(Crcore__PosixTimer, crcore__posix_timer__init);

	ADD(t, threads, thread(1001, "worker \"1\""));
	t->threads[1]->resume = NEW(Crcore__Resume, crcore__resume__init);
	for (int i = 0; i < 6; i++)
		ADD(t->threads[1]->resume, args, (uint64_t)i);
	ADD(t->threads[1], pending, zeroes(sizeof(siginfo_t)));
	timer->id = 3;
	timer->signo = SIGALRM;
	ADD(t, timers, timer);
	KEEP(c->tasks, c->ntasks, t);

	t = task(1002, SAMPLE_ROOT, "child", 2);
	t->state = CRCORE__TASK_STATE__STOPPED;
	t->stop_signal = SIGTSTP;
	KEEP(c->tasks, c->ntasks, t);

	t = task(1004, 1002, "grandchild", 3);
	t->files = 2;
	KEEP(c->tasks, c->ntasks, t);

	t = NEW(Crcore__Task, crcore__task__init);
	t->pid = 1003;
	t->ppid = SAMPLE_ROOT;
	t->pgid = t->sid = SAMPLE_ROOT;
	t->state = CRCORE__TASK_STATE__ZOMBIE;
	t->exit_code = 0x0700;
	t->exit_signal = SIGCHLD;
	t->comm = must(strdup("gone"));
	KEEP(c->tasks, c->ntasks, t);
}

static Crcore__Vma *vma(uint64_t start, uint64_t pages, uint32_t prot, Crcore__Backing backing,
                        uint32_t object)
{
	Crcore__Vma *v = NEW(Crcore__Vma, crcore__vma__init);

	v->start = start;
	v->end = start + pages * PAGE;
	v->prot = prot;
	v->backing = backing;
	v->object = object;
	return v;
}

static Crcore__Run *run(uint64_t addr, uint64_t pages, Crcore__Source source, uint64_t offset,
                        uint32_t mm)
{
	Crcore__Run *r = NEW(Crcore__Run, crcore__run__init);

	r->addr = addr;
	r->pages = pages;
	r->source = source;
	r->offset = offset;
	r->mm = mm;
	return r;
}

static void add_memory(struct core_records *c)
{
	for (uint32_t id = 1; id <= 3; id++) {
		Crcore__Mm *m = NEW(Crcore__Mm, crcore__mm__init);
		m->id = id;
		m->exe = 10;
		m->start_code = TEXT;
		m->end_code = TEXT + 2 * PAGE;
		m->start_brk = HEAP;
		m->brk = HEAP + 2 * PAGE;
		m->start_stack = STACK + PAGE;
		m->arg_start = STACK;
		m->arg_end = STACK + sizeof(SAMPLE_CMDLINE);
		m->dumpable = 1;
		m->auxv = zeroes(32);
		ADD(m, vmas, vma(TEXT, 2, PROT_READ | PROT_EXEC, CRCORE__BACKING__FILE, 12));
		ADD(m, vmas, vma(HEAP, 4, PROT_READ | PROT_WRITE, CRCORE__BACKING__ANON, 0));
		ADD(m, vmas, vma(SHARED, 2, PROT_READ | PROT_WRITE, CRCORE__BACKING__SEGMENT, 1));
		m->vmas[2]->shared = true;
		ADD(m, vmas, vma(STACK, 2, PROT_READ | PROT_WRITE, CRCORE__BACKING__ANON, 0));
		m->vmas[3]->grows_down = true;
		if (id == 1) {
			ADD(m, runs, run(HEAP, 2, CRCORE__SOURCE__PAGES, 0, 0));
			ADD(m, runs, run(STACK, 1, CRCORE__SOURCE__PAGES, 2 * PAGE, 0));
		} else {
			ADD(m, runs, run(HEAP, 2, CRCORE__SOURCE__OTHER, HEAP, 1));
			ADD(m, runs, run(HEAP + 2 * PAGE, 1, CRCORE__SOURCE__ZERO, 0, 0));
			ADD(m, runs, run(STACK, 1, CRCORE__SOURCE__OTHER, STACK, 1));
		}
		KEEP(c->mms, c->nmms, m);
	}
	Crcore__Segment *s = NEW(Crcore__Segment, crcore__segment__init);
	s->id = 1;
	s->size = 2 * PAGE;
	ADD(s, runs, run(PAGE, 1, CRCORE__SOURCE__PAGES, 3 * PAGE, 0));
	KEEP(c->segments, c->nsegments, s);
}

static void add_object(struct core_records *c, uint32_t id, uint32_t class_, uint32_t use,
                       const char *label)
{
	Crcore__Object *o = NEW(Crcore__Object, crcore__object__init);

	o->id = id;
	o->class_ = class_;
	o->use = use;
	o->plugin = must(strdup("sample"));
	o->label = must(strdup(label));
	KEEP(c->objects, c->nobjects, o);
}

static void add_tables(struct core_records *c)
{
	static const uint32_t fds[2][3] = { { 0, 1, 7 }, { 1, 2, 900 } };

	add_object(c, 10, CRCORE_FILE, CRCORE_USE_EXE, "/usr/bin/sample");
	add_object(c, 11, CRCORE_FILE, CRCORE_USE_CWD, "/home/\xff\"odd\"\n");
	add_object(c, 12, CRCORE_FILE, CRCORE_USE_MAPPING, "/usr/bin/sample");
	add_object(c, 20, CRCORE_DESCRIPTION, 0, "/dev/null");
	add_object(c, 21, CRCORE_DESCRIPTION, 0, "/var/log/sample.log");
	for (uint32_t id = 1; id <= 2; id++) {
		Crcore__Files *f = NEW(Crcore__Files, crcore__files__init);
		f->id = id;
		for (unsigned i = 0; i < 3; i++) {
			Crcore__Fd *d = NEW(Crcore__Fd, crcore__fd__init);
			d->fd = fds[id - 1][i];
			d->object = 20 + i % 2;
			d->cloexec = i == 2;
			ADD(f, fds, d);
		}
		KEEP(c->files, c->nfiles, f);
	}
	Crcore__Fs *fs = NEW(Crcore__Fs, crcore__fs__init);
	fs->id = 1;
	fs->cwd = 11;
	fs->umask = 022;
	KEEP(c->fs, c->nfs, fs);
	for (uint32_t id = 1; id <= 3; id++) {
		Crcore__Sighand *s = NEW(Crcore__Sighand, crcore__sighand__init);
		s->id = id;
		for (int i = 0; i < 64; i++)
			ADD(s, actions, zeroes(32));
		KEEP(c->sighands, c->nsighands, s);
	}
}

void sample_records(struct core_records *ret)
{
	memset(ret, 0, sizeof(*ret));
	add_tasks(ret);
	add_memory(ret);
	add_tables(ret);
}

void sample_manifest(Crcore__Manifest *ret)
{
	static Crcore__SectionUse section = CRCORE__SECTION_USE__INIT;
	static Crcore__SectionUse *sections[] = { &section };
	static Crcore__PluginUse plugin = CRCORE__PLUGIN_USE__INIT;
	static Crcore__PluginUse *plugins[] = { &plugin };
	static uint8_t policy[] = "version: 1\nplugins:\n  sample: {}\n";

	section.name = (char *)"thing";
	section.version = 1;
	plugin.name = (char *)"sample";
	plugin.version = (char *)"1.0";
	plugin.n_sections = 1;
	plugin.sections = sections;
	crcore__manifest__init(ret);
	ret->kernel = (char *)"6.18.0";
	ret->machine = (char *)"x86_64";
	ret->policy = (ProtobufCBinaryData){ sizeof(policy) - 1, policy };
	ret->n_plugins = 1;
	ret->plugins = plugins;
	ret->root_pid = SAMPLE_ROOT;
	ret->tasks = 4;
	ret->created = 1700000000;
	ret->page_size = PAGE;
}

unsigned char *sample_pages(size_t *ret_len)
{
	unsigned char *p = must(calloc(4, PAGE));

	memcpy(p, SAMPLE_SECRET, sizeof(SAMPLE_SECRET));
	memset(p + PAGE, 0x5a, PAGE);
	memcpy(p + 2 * PAGE, SAMPLE_CMDLINE, sizeof(SAMPLE_CMDLINE));
	memset(p + 3 * PAGE, 0xa5, PAGE);
	*ret_len = 4 * PAGE;
	return p;
}

static int put_all(struct image *img, const char *section, void *records, unsigned n,
                   struct crcore_error *err)
{
	ProtobufCMessage **m = records;
	int r = 0;

	for (unsigned i = 0; i < n && r == 0; i++)
		r = image_put_message(img, "core", section, m[i], err);
	return r;
}

static int put_pages(struct image *img, struct crcore_error *err)
{
	size_t len;
	cleanup_free unsigned char *pages = sample_pages(&len);
	int fd = image_bulk(img, "pages-1.bin", err);

	return fd < 0 ? fd : image_bulk_block(img, fd, 0, pages, len, err);
}

/* Sections that are too long for the manifest. */
static int put_long(struct image *img, struct crcore_error *err)
{
	static unsigned char bytes[9000];
	int r = 0;

	for (int i = 0; i < 3 && r == 0; i++) {
		memset(bytes, 'a' + i, sizeof(bytes));
		r = image_put(img, "sample", "long", bytes, sizeof(bytes), err);
		if (r == 0)
			r = image_put(img, "sample", "longer", bytes, sizeof(bytes) - 1, err);
	}
	return r;
}

int sample_write(const char *dir, const struct core_records *c, struct crcore_error *err)
{
	struct image *img;
	Crcore__Manifest m;
	int r = image_create(dir, false, &img, err);

	if (r < 0)
		return r;
	sample_manifest(&m);
	r = put_all(img, "task", c->tasks, c->ntasks, err);
	if (r == 0)
		r = put_all(img, "mm", c->mms, c->nmms, err);
	if (r == 0)
		r = put_all(img, "files", c->files, c->nfiles, err);
	if (r == 0)
		r = put_all(img, "fs", c->fs, c->nfs, err);
	if (r == 0)
		r = put_all(img, "sighand", c->sighands, c->nsighands, err);
	if (r == 0)
		r = put_all(img, "object", c->objects, c->nobjects, err);
	if (r == 0)
		r = put_all(img, "segment", c->segments, c->nsegments, err);
	if (r == 0)
		r = image_put(img, "sample", "thing", SAMPLE_SECRET, sizeof(SAMPLE_SECRET), err);
	if (r == 0)
		r = put_long(img, err);
	if (r == 0)
		r = put_pages(img, err);
	if (r == 0)
		r = image_seal(img, &m, err);
	image_close(img);
	return r;
}
