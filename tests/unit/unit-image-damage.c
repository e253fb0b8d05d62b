/* SPDX-License-Identifier: Apache-2.0 */
/* Every damage of an image is refused. Built a second time with sanitizers (tests/fuzz). */
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include "core/util/util.h"
#include "tests/lib/sample-image.h"
#include "tests/unit/folder.h"

/* ---- damage ---- */

static const char *const all_files[] = {
	"manifest", "sample.long.img", "sample.longer.img", "pages-1.bin",
};

static void test_flips(void **state)
{
	folder_sample();
	for (unsigned f = 0; f < ARRAY_SIZE(all_files); f++) {
		size_t len, step;
		unsigned char *p = folder_get(all_files[f], &len);
		step = f > 0 ? len / 1000 : 1;
		int fd = open(folder_file(all_files[f]), O_WRONLY);
		for (size_t i = 0; i < len; i += step) {
			unsigned char bad = p[i] ^ (unsigned char)(1u << i % 8);
			assert_int_equal(pwrite(fd, &bad, 1, (off_t)i), 1);
			int r = folder_try();
			if (r >= 0)
				fail_msg("%s: byte %zu changed, not noticed", all_files[f], i);
			assert_int_equal(pwrite(fd, &p[i], 1, (off_t)i), 1);
		}
		close(fd);
		free(p);
	}
	assert_int_equal(folder_try(), 0);
}

static void test_lengths(void **state)
{
	folder_sample();
	for (unsigned f = 0; f < ARRAY_SIZE(all_files); f++) {
		size_t len, step;
		unsigned char *p = folder_get(all_files[f], &len);
		step = len / 500;
		assert_int_equal(truncate(folder_file(all_files[f]), (off_t)len + 1), 0);
		assert_true(folder_try() < 0);
		for (size_t i = len; i > 0; i -= i < step ? i : step) {
			assert_int_equal(truncate(folder_file(all_files[f]), (off_t)i - 1), 0);
			assert_true(folder_try() < 0);
		}
		folder_put(all_files[f], p, len);
		free(p);
	}
	assert_int_equal(folder_try(), 0);
}

static void test_missing_swapped_foreign(void **state)
{
	char a[128], b[128], aside[128];

	folder_sample();
	snprintf(aside, sizeof(aside), "%s/aside", folder_top);
	for (unsigned f = 0; f < ARRAY_SIZE(all_files); f++) {
		snprintf(a, sizeof(a), "%s", folder_file(all_files[f]));
		assert_int_equal(rename(a, aside), 0);
		assert_true(folder_try() < 0);
		assert_int_equal(symlink(aside, a), 0);
		assert_true(folder_try() < 0);
		unlink(a);
		assert_int_equal(mkfifo(a, 0600), 0);
		assert_true(folder_try() < 0);
		unlink(a);
		assert_int_equal(mkdir(a, 0700), 0);
		assert_true(folder_try() < 0);
		rmdir(a);
		assert_int_equal(rename(aside, a), 0);
		for (unsigned g = 0; g < f; g++) {
			snprintf(b, sizeof(b), "%s", folder_file(all_files[g]));
			assert_int_equal(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), 0);
			assert_true(folder_try() < 0);
			assert_int_equal(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), 0);
		}
	}
	folder_put("notes.txt", "extra files are nobody's business", 10);
	folder_put("sample.other.img", "not in the manifest", 10);
	assert_int_equal(folder_try(), 0);
}

/* ---- damage behind good checksums: what the check of the records must find ---- */

struct wrong {
	const char *name;
	void (*make)(struct core_records *);
	const char *says;
};

#define WRONG(id, code) static void wrong_##id(struct core_records *c) { code }
WRONG(root_pid, c->tasks[0]->pid = 77; c->tasks[0]->threads[0]->tid = 77;)
WRONG(no_parent, c->tasks[1]->ppid = 4000;)
WRONG(own_parent, c->tasks[1]->ppid = 1002;)
WRONG(late_parent, c->tasks[1]->ppid = 1004;)
WRONG(zombie_parent, c->tasks[1]->state = CRCORE__TASK_STATE__ZOMBIE; c->tasks[1]->mm = 0;
      c->tasks[1]->files = c->tasks[1]->fs = c->tasks[1]->sighand = 0;)
WRONG(same_pid, c->tasks[2]->pid = 1002; c->tasks[2]->threads[0]->tid = 1002;)
WRONG(same_tid, c->tasks[0]->threads[1]->tid = 1003;)
WRONG(big_pid, c->tasks[2]->pid = c->tasks[2]->threads[0]->tid = 5000000;)
WRONG(big_tid, c->tasks[0]->threads[1]->tid = 0xffffffff;)
WRONG(stopped_zombie, c->tasks[3]->exit_code = SIGSTOP;)
WRONG(zombie_signal, c->tasks[3]->exit_code = 65;)
WRONG(no_state, c->tasks[2]->state = 0;)
WRONG(leader, c->tasks[2]->threads[0]->tid = 1005;)
WRONG(regs, c->tasks[2]->threads[0]->regs.len--;)
WRONG(no_regs, c->tasks[2]->threads[0]->regs.len = 0;)
WRONG(xstate, c->tasks[2]->threads[0]->xstate.len = 100;)
WRONG(siginfo, c->tasks[0]->threads[1]->pending[0].len = 127;)
WRONG(altstack, c->tasks[0]->threads[1]->altstack.len = 23;)
WRONG(affinity, c->tasks[0]->threads[1]->affinity.len = 7;)
WRONG(sched, c->tasks[0]->threads[1]->sched_attr.len = 7;)
WRONG(resume, c->tasks[0]->threads[1]->resume->n_args = 5;)
WRONG(creds, crcore__creds__free_unpacked(STEAL(c->tasks[2]->threads[0]->creds), NULL);)
WRONG(rlimits,
      crcore__rlimit__free_unpacked(c->tasks[2]->rlimits[--c->tasks[2]->n_rlimits], NULL);)
WRONG(itimers,
      crcore__itimer__free_unpacked(c->tasks[2]->itimers[--c->tasks[2]->n_itimers], NULL);)
WRONG(timer_signal, c->tasks[0]->timers[0]->signo = 65;)
WRONG(timer_thread, c->tasks[0]->timers[0]->notify = 4; c->tasks[0]->timers[0]->tid = 1002;)
WRONG(no_mm, c->tasks[2]->mm = 9;)
WRONG(no_files, c->tasks[2]->files = 0;)
WRONG(no_sighand, c->tasks[2]->sighand = 9;)
WRONG(sighand_mm, c->tasks[2]->sighand = 1;)
WRONG(unused_mm, c->tasks[2]->mm = 2;)
WRONG(mm_twice, c->mms[1]->id = 1;)
WRONG(mm_zero, c->mms[1]->id = 0;)
WRONG(object_twice, c->objects[0]->id = 20;)
WRONG(object_class, c->objects[3]->class_ = 3;)
WRONG(object_use, c->objects[0]->use = 9;)
WRONG(object_plugin, strcpy(c->objects[0]->plugin, "simple");)
WRONG(fd_object, c->files[0]->fds[0]->object = 99;)
WRONG(fd_file, c->files[0]->fds[0]->object = 10;)
WRONG(fd_twice, c->files[0]->fds[1]->fd = 0;)
WRONG(fd_big, c->files[0]->fds[2]->fd = 0xfffffff0;)
WRONG(cwd, c->fs[0]->cwd = 20;)
WRONG(umask, c->fs[0]->umask = 01000;)
WRONG(actions, free(c->sighands[0]->actions[--c->sighands[0]->n_actions].data);)
WRONG(action, c->sighands[0]->actions[5].len = 31;)
WRONG(exe, c->mms[0]->exe = 0;)
WRONG(mapped, c->mms[0]->vmas[0]->object = 20;)
WRONG(segment, c->mms[0]->vmas[2]->object = 2;)
WRONG(segment_size, c->segments[0]->size = 0;)
WRONG(segment_run, c->segments[0]->runs[0]->addr = 2 * PAGE;)
WRONG(segment_pages, c->segments[0]->runs[0]->pages = 1ull << 60;)
WRONG(segment_offset, c->segments[0]->runs[0]->offset = 4 * PAGE;)
WRONG(string, char *s = malloc(20001); memset(s, 'x', 20000); s[20000] = 0;
      free(c->objects[0]->label); c->objects[0]->label = s;)
WRONG(enum_value, c->mms[0]->vmas[0]->backing = 100;)

#define W(id, says) { #id, wrong_##id, says }
static const struct wrong wrongs[] = {
	W(root_pid, "manifest"), W(no_parent, "parent 4000"), W(own_parent, "parent 1002"),
	W(late_parent, "parent 1004"), W(zombie_parent, "zombie"), W(same_pid, "twice"),
	W(same_tid, "used by two"), W(big_pid, "range"), W(big_tid, "thread number"),
	W(stopped_zombie, "no process ends"), W(zombie_signal, "no process ends"),
	W(no_state, "no state"), W(leader, "not the leader"), W(regs, "registers"),
	W(no_regs, "registers"), W(xstate, "registers"), W(siginfo, "signal"), W(altstack, "signal"),
	W(affinity, "scheduling"), W(sched, "scheduling"), W(resume, "six"), W(creds, "credentials"),
	W(rlimits, "limits"), W(itimers, "timers"), W(timer_signal, "timer"),
	W(timer_thread, "thread 1002"), W(no_mm, "memory 9"), W(no_files, "descriptor table"),
	W(no_sighand, "handlers 9"), W(sighand_mm, "shares"), W(unused_mm, "no task uses"),
	W(mm_twice, "twice"), W(mm_zero, "number 0"), W(object_twice, "twice"),
	W(object_class, "class"), W(object_use, "use"), W(object_plugin, "plugin"),
	W(fd_object, "object 99"), W(fd_file, "object 10"), W(fd_twice, "order"), W(fd_big, "order"),
	W(cwd, "refers"), W(umask, "refers"), W(actions, "handlers"), W(action, "handlers"),
	W(exe, "object 0"), W(mapped, "object 20"), W(segment, "object 2"),
	W(segment_size, "size"), W(segment_run, "past"), W(segment_pages, "past"),
	W(segment_offset, "past"), W(string, "too long"), W(enum_value, "does not know"),
};

static void test_wrong_records(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(wrongs); i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		struct core_records c, got;
		struct image *img;

		sample_records(&c);
		wrongs[i].make(&c);
		assert_int_equal(sample_write(folder, &c, &err), 0);
		assert_int_equal(image_open(folder, true, &img, &err), 0);
		int r = core_records_load(img, &got, &err);
		if (r >= 0 || !strstr(err.message, wrongs[i].says) || !err.object[0])
			fail_msg("%s: %d %s: %s", wrongs[i].name, r, err.object, err.message);
		image_close(img);
		core_records_free(&c);
		folder_remove(folder);
	}
}

/* A manifest of other contents with a good checksum. */
static int try_manifest(void (*change)(Crcore__Manifest *), struct crcore_error *err)
{
	Crcore__Manifest m;
	struct image *img;
	int r;

	assert_int_equal(image_create(folder, false, &img, err), 0);
	sample_manifest(&m);
	change(&m);
	assert_int_equal(image_seal(img, &m, err), 0);
	image_close(img);
	r = image_open(folder, true, &img, err);
	if (r == 0)
		image_close(img);
	folder_remove(folder);
	return r;
}

static Crcore__PluginUse odd_plugin = CRCORE__PLUGIN_USE__INIT;
static Crcore__PluginUse *odd_plugins[] = { &odd_plugin, &odd_plugin };

static void name_plugin(Crcore__Manifest *m)
{
	odd_plugin.name = (char *)"../../evil";
	m->plugins = odd_plugins;
}

static void twice_plugin(Crcore__Manifest *m)
{
	odd_plugin.name = (char *)"fine";
	m->plugins = odd_plugins;
	m->n_plugins = 2;
}

static void test_wrong_manifest(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT, err2 = CRCORE_ERROR_INIT;

	assert_int_equal(try_manifest(name_plugin, &err), -EBADMSG);
	assert_int_equal(try_manifest(twice_plugin, &err2), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_flips, folder_clear),
		cmocka_unit_test_teardown(test_lengths, folder_clear),
		cmocka_unit_test_teardown(test_missing_swapped_foreign, folder_clear),
		cmocka_unit_test_teardown(test_wrong_records, folder_clear),
		cmocka_unit_test_teardown(test_wrong_manifest, folder_clear),
	};

	return cmocka_run_group_tests(tests, folder_begin, folder_end);
}
