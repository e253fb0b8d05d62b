/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `show` for people: one task, with its state, memory and descriptors. A table
 * or memory that several tasks share is shown with the first of them. All
 * strings of the image go through print_text().
 */
#include <signal.h>
#include <sys/wait.h>
#include "core/cli/show.h"
#include "core/util/util.h"

#define CMDLINE_SHOWN 200 /* bytes of a command line; --json has all of it */
#define THREADS_SHOWN 16

struct task_out {
	const struct show *s;
	FILE *f;
	const char *prefix; /* of every line but the first */
};

static void line(const struct task_out *o)
{
	fputs(o->prefix, o->f);
}

static void print_signal(FILE *f, uint32_t sig)
{
	const char *name = sig < NSIG ? sigabbrev_np((int)sig) : NULL;

	if (name)
		fprintf(f, "SIG%s", name);
	else
		fprintf(f, "signal %u", sig);
}

static void print_state(const struct task_out *o, const Crcore__Task *t)
{
	FILE *f = o->f;

	if (t->state == CRCORE__TASK_STATE__ZOMBIE) {
		int status = (int)t->exit_code;
		if (WIFSIGNALED(status)) {
			fputs("zombie, killed by ", f);
			print_signal(f, (uint32_t)WTERMSIG(status));
		} else {
			fprintf(f, "zombie, exit status %d", WEXITSTATUS(status));
		}
	} else if (t->state == CRCORE__TASK_STATE__STOPPED) {
		fputs("stopped", f);
		if (t->stop_signal) {
			fputs(" by ", f);
			print_signal(f, t->stop_signal);
		}
	} else {
		fputs("running", f);
	}
	fprintf(f, ", group %u, session %u", t->pgid, t->sid);
	if (t->n_threads) {
		const Crcore__Creds *c = t->threads[0]->creds;
		if (c)
			fprintf(f, ", uid %u, gid %u", c->euid, c->egid);
	}
	fputc('\n', f);
}

static void print_threads(const struct task_out *o, const Crcore__Task *t)
{
	if (t->n_threads < 2)
		return;
	line(o);
	fprintf(o->f, "%zu threads:", t->n_threads);
	for (size_t i = 0; i < t->n_threads && i < THREADS_SHOWN; i++) {
		fprintf(o->f, "%s %u ", i ? "," : "", t->threads[i]->tid);
		print_string(o->f, t->threads[i]->comm);
	}
	if (t->n_threads > THREADS_SHOWN)
		fprintf(o->f, ", and %zu more", t->n_threads - THREADS_SHOWN);
	fputc('\n', o->f);
}

static const char *label_of(const struct show *s, uint32_t object)
{
	const Crcore__Object *o = core_object(&s->records, object);

	return !o ? "-" : o->label[0] ? o->label : "?";
}

static void print_places(const struct task_out *o, const Crcore__Task *t)
{
	const Crcore__Mm *m = core_mm(&o->s->records, t->mm);
	const Crcore__Fs *fs = core_fs(&o->s->records, t->fs);

	line(o);
	fputs("runs ", o->f);
	print_string(o->f, label_of(o->s, m->exe));
	fputs(" in ", o->f);
	print_string(o->f, label_of(o->s, fs->cwd));
	if (fs->root) {
		fputs(", root ", o->f);
		print_string(o->f, label_of(o->s, fs->root));
	}
	fprintf(o->f, ", umask %03o\n", fs->umask);
}

static const Crcore__Task *first_with(const struct show *s, const Crcore__Task *t, bool files)
{
	for (unsigned i = 0; i < s->records.ntasks; i++) {
		const Crcore__Task *u = s->records.tasks[i];
		if (files ? u->files == t->files : u->mm == t->mm)
			return u;
	}
	return t;
}

static void print_memory(const struct task_out *o, const Crcore__Task *t)
{
	const struct show *s = o->s;
	const unsigned i = core_mm_index(&s->records, t->mm);
	const Crcore__Mm *m = s->records.mms[i];
	const Crcore__Task *owner = first_with(s, t, false);
	FILE *f = o->f;

	line(o);
	if (owner != t) {
		fprintf(f, "memory: the same as %u\n", owner->pid);
		return;
	}
	const struct memory_count *c = &s->memory[i];
	fputs("memory: ", f);
	print_size(f, c->mapped, " mapped");
	fprintf(f, " in %zu piece%s, ", m->n_vmas, plural(m->n_vmas));
	print_size(f, c->stored, " stored");
	if (c->zero) {
		fputs(", ", f);
		print_size(f, c->zero, " zero");
	}
	if (c->shared) {
		fputs(", ", f);
		print_size(f, c->shared, " shared with");
		for (unsigned k = 0; k < c->nfrom && k < ARRAY_SIZE(c->from); k++)
			fprintf(f, "%s %u", k ? "," : "", c->from[k] ? c->from[k]->pid : 0);
		if (c->nfrom > ARRAY_SIZE(c->from))
			fprintf(f, " and %u more", c->nfrom - (unsigned)ARRAY_SIZE(c->from));
	}
	if (c->nto)
		fprintf(f, ", part of it used by %u other%s", c->nto, plural(c->nto));
	fputc('\n', f);
}

static void print_descriptors(const struct task_out *o, const Crcore__Task *t)
{
	const struct show *s = o->s;
	const Crcore__Task *owner = first_with(s, t, true);
	const Crcore__Files *files = core_files(&s->records, t->files);

	line(o);
	if (owner != t) {
		fprintf(o->f, "descriptors: the same as %u\n", owner->pid);
		return;
	}
	fprintf(o->f, "%zu descriptor%s\n", files->n_fds, plural(files->n_fds));
	for (size_t i = 0; i < files->n_fds; i++) {
		const Crcore__Fd *d = files->fds[i];
		const Crcore__Object *object = core_object(&s->records, d->object);
		line(o);
		fprintf(o->f, "  %3u  %-8s ", d->fd, object->plugin);
		print_string(o->f, label_of(s, d->object));
		fprintf(o->f, "  (object %u%s)\n", d->object, d->cloexec ? ", close on exec" : "");
	}
}

/* One argument, in quotes where a shell would need them. */
static void print_arg(FILE *f, const char *arg, size_t len)
{
	bool quote = !len || strcspn(arg, " \t\n'\"$`*?[]{}()<>|&;~#!") < len;

	if (quote)
		fputc('\'', f);
	print_text(f, arg, len);
	if (quote)
		fputc('\'', f);
}

static void print_args(FILE *f, const char *args, size_t len)
{
	size_t left = CMDLINE_SHOWN;

	for (const char *p = args; p < args + len; p += strlen(p) + 1) {
		size_t n = strlen(p);
		fputc(' ', f);
		if (n > left) {
			print_text(f, p, left);
			fputs(" ...", f);
			return;
		}
		print_arg(f, p, n);
		left -= n;
	}
}

static void print_name(const struct task_out *o, const Crcore__Task *t)
{
	size_t len = 0;
	cleanup_free char *args = show_cmdline(o->s, t, &len);

	fprintf(o->f, "%u ", t->pid);
	print_string(o->f, show_comm(t));
	if (args) {
		fputc(':', o->f);
		print_args(o->f, args, len);
	}
	fputc('\n', o->f);
}

void show_task(const struct show *s, const Crcore__Task *t, const char *prefix, FILE *f)
{
	const struct task_out o = { s, f, prefix };

	print_name(&o, t);
	line(&o);
	print_state(&o, t);
	if (t->state == CRCORE__TASK_STATE__ZOMBIE)
		return;
	print_threads(&o, t);
	print_places(&o, t);
	print_memory(&o, t);
	print_descriptors(&o, t);
}
