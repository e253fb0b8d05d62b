/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image: what is written comes back, a folder is treated with care, and
 * every damage is refused. Built a second time with sanitizers (tests/fuzz).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include "core/util/util.h"
#include "tests/lib/sample-image.h"

static char top[] = "/tmp/unit-image.XXXXXX";
static char dir[64];

static int make_top(void **state)
{
	if (!mkdtemp(top))
		return -1;
	snprintf(dir, sizeof(dir), "%s/img", top);
	return 0;
}

static void clear(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
		    unlinkat(dirfd(d), e->d_name, 0))
			unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
	if (d)
		closedir(d);
	rmdir(path);
}

static int drop_dir(void **state)
{
	clear(dir);
	return 0;
}

static int drop_top(void **state)
{
	clear(dir);
	return rmdir(top);
}

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static bool exists(const char *name)
{
	return access(in_dir(name), F_OK) == 0;
}

static void put_file(const char *name, const void *bytes, size_t len)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

static unsigned char *get_file(const char *name, size_t *ret_len)
{
	int fd = open(in_dir(name), O_RDONLY);
	struct stat st;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	unsigned char *p = malloc((size_t)st.st_size + 1);
	assert_int_equal(read(fd, p, (size_t)st.st_size), st.st_size);
	close(fd);
	*ret_len = (size_t)st.st_size;
	return p;
}

static void write_sample(void)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct core_records c;

	sample_records(&c);
	if (sample_write(dir, &c, &err))
		fail_msg("%s: %s", err.object, err.message);
	core_records_free(&c);
}

/* Opens and loads all; 0 or the errno of the refusal, which must say something. */
static int try_image(void)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	struct core_records c;
	int r = image_open(dir, true, &img, &err);

	if (r == 0) {
		r = core_records_load(img, &c, &err);
		if (r == 0)
			core_records_free(&c);
		image_close(img);
	}
	if (r < 0) {
		assert_int_equal(err.code, r);
		assert_true(err.message[0] && err.object[0]);
	}
	return r;
}

/* ---- writing ---- */

static void test_round_trip(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct core_records c;
	struct image *img;
	struct stat st;
	uint64_t len;

	write_sample();
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_false(exists("core.task.img")); /* short: in the manifest */
	assert_int_equal(stat(in_dir("sample.long.img"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(in_dir("manifest"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_false(exists("manifest.tmp"));

	assert_int_equal(image_open(dir, true, &img, &err), 0);
	assert_string_equal(image_manifest(img)->machine, "x86_64");
	assert_int_equal(core_records_load(img, &c, &err), 0);
	int fd = image_bulk_read(img, "pages-1.bin", &len, &err);
	assert_true(fd >= 0 && len == 4 * PAGE);
	assert_int_equal(image_bulk_read(img, "core.task.img", &len, NULL), -ENOENT);
	image_close(img);

	assert_int_equal(c.ntasks, 4);
	assert_int_equal(core_task_index(&c, 1002), 1);
	assert_string_equal(c.tasks[0]->threads[1]->comm, "worker \"1\"");
	assert_int_equal(core_mm(&c, 3)->runs[0]->mm, 1);
	assert_int_equal(core_files(&c, 2)->fds[2]->fd, 900);
	assert_int_equal(core_fs(&c, 1)->cwd, 11);
	assert_int_equal(core_sighand(&c, 2)->n_actions, 64);
	assert_string_equal(core_object(&c, 21)->label, "/var/log/sample.log");
	assert_int_equal(core_segment(&c, 1)->size, 2 * PAGE);
	assert_null(core_object(&c, 99));
	core_records_free(&c);
}

static int count_record(void *arg, const void *msg, size_t len, struct crcore_error *err)
{
	uint64_t *n = arg, v;

	if (len != 8 + *n % 300)
		return crcore_fail(err, -EBADMSG, "wrong length");
	memcpy(&v, msg, sizeof(v));
	if (v != *n)
		return crcore_fail(err, -EBADMSG, "wrong record");
	(*n)++;
	return 0;
}

static void test_many_records(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	unsigned char rec[308] = { 0 };
	Crcore__Manifest m;
	struct image *img;
	uint64_t n = 0;

	assert_int_equal(image_create(dir, false, &img, &err), 0);
	for (uint64_t i = 0; i < 100000; i++) {
		memcpy(rec, &i, sizeof(i));
		assert_int_equal(image_put(img, "sample", "many", rec, 8 + i % 300, &err), 0);
	}
	unsigned char *big = calloc(1, 3u << 20);
	assert_int_equal(image_put(img, "sample", "big", big, 3u << 20, &err), 0);
	assert_int_equal(image_put(img, "sample", "big", big, 0, &err), 0);
	free(big);
	sample_manifest(&m);
	assert_int_equal(image_seal(img, &m, &err), 0);
	assert_int_equal(image_put(img, "sample", "many", "x", 1, NULL), -EBADF);
	image_close(img);

	assert_int_equal(image_open(dir, true, &img, &err), 0);
	assert_int_equal(image_each(img, "sample", "many", count_record, &n, &err), 0);
	assert_int_equal(n, 100000);
	n = 1; /* the first record says 0: the callback's failure comes through */
	assert_int_equal(image_each(img, "sample", "many", count_record, &n, &err), -EBADMSG);
	assert_non_null(strstr(err.object, "sample.many.img, record 1"));
	image_close(img);
}

/* One content written in each of the ways gives one checksum. */
static void test_bulk_ways(void **state)
{
	const size_t len = 3 * IMAGE_BLOCK + 12345;
	struct crcore_error err = CRCORE_ERROR_INIT;
	unsigned char *p = malloc(len);
	Crcore__Manifest m;
	struct image *img;

	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(i * 2654435761u >> 13);
	assert_int_equal(image_create(dir, true, &img, &err), 0);
	int b = image_bulk(img, "b-block.bin", &err), c = image_bulk(img, "c-plain.bin", &err);
	int d = image_bulk(img, "d-mixed.bin", &err);
	assert_true(b >= 0 && c >= 0 && d >= 0);
	assert_int_equal(image_bulk(img, "b-block.bin", &err), b);
	for (int k = 3; k >= 0; k--)
		assert_int_equal(image_bulk_block(img, b, (uint64_t)k, p + (size_t)k * IMAGE_BLOCK,
		                                  k == 3 ? 12345 : IMAGE_BLOCK, &err), 0);
	assert_int_equal(write(c, p, len), (ssize_t)len);
	assert_int_equal(image_bulk_block(img, d, 0, p, IMAGE_BLOCK, &err), 0);
	assert_int_equal(pwrite(d, p + IMAGE_BLOCK, len - IMAGE_BLOCK, IMAGE_BLOCK),
	                 (ssize_t)(len - IMAGE_BLOCK));
	assert_int_equal(image_bulk_block(img, b, 5, p, IMAGE_BLOCK + 1, NULL), -EINVAL);
	assert_int_equal(image_bulk(img, "../x.bin", NULL), -EINVAL);
	assert_int_equal(image_bulk(img, "x.img", NULL), -EINVAL);
	sample_manifest(&m);
	assert_int_equal(image_seal(img, &m, &err), 0);
	image_close(img);

	assert_int_equal(image_open(dir, true, &img, &err), 0);
	const Crcore__Manifest *r = image_manifest(img);
	assert_int_equal(r->n_files, 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(r->files[i]->length, len);
		assert_int_equal(r->files[i]->blocks.len, 4 * 8);
		assert_true(r->files[i]->xxh3 == r->files[0]->xxh3);
	}
	image_close(img);

	/* Damage is placed; without verify it is only found when asked for. */
	p[2 * IMAGE_BLOCK + 5] ^= 1;
	put_file("b-block.bin", p, len);
	free(p);
	assert_int_equal(image_open(dir, false, &img, &err), 0);
	assert_int_equal(image_verify(img, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "from 2097152 on"));
	assert_non_null(strstr(err.object, "b-block.bin"));
	image_close(img);
}

/* ---- the folder ---- */

static void test_unsealed_is_removed(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	struct stat st;

	assert_int_equal(image_create(dir, false, &img, &err), 0);
	assert_true(exists("manifest.tmp"));
	assert_true(image_bulk(img, "pages-1.bin", &err) >= 0);
	image_close(img);
	assert_int_equal(access(dir, F_OK), -1);

	/* One that was there stays, as it was. */
	assert_int_equal(mkdir(dir, 0750), 0);
	assert_int_equal(chmod(dir, 0750), 0);
	assert_int_equal(image_create(dir, false, &img, &err), 0);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(image_put(img, "core", "task", "x", 1, &err), 0);
	image_close(img);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(rmdir(dir), 0);
}

static int try_create(void)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	int r = image_create(dir, false, &img, &err);

	if (r == 0)
		image_close(img);
	else
		assert_true(err.message[0] && err.object[0] && err.code == r);
	return r;
}

static void test_folder_is_refused(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img, *second;

	write_sample();
	assert_int_equal(try_create(), -EEXIST);
	assert_int_equal(try_image(), 0);
	clear(dir);

	assert_int_equal(mkdir(dir, 0700), 0);
	put_file("letter.txt", "dear", 4);
	assert_int_equal(try_create(), -ENOTEMPTY);
	assert_true(exists("letter.txt"));
	unlink(in_dir("letter.txt"));
	put_file("holiday.img", "photo", 5); /* named like ours, but nobody says it is */
	assert_int_equal(try_create(), -ENOTEMPTY);
	assert_true(exists("holiday.img"));
	clear(dir);

	assert_int_equal(image_create(dir, false, &img, &err), 0);
	assert_int_equal(try_create(), -EBUSY);
	assert_int_equal(image_open(dir, false, &second, NULL), -EBUSY);
	image_close(img);

	snprintf(dir, sizeof(dir), "%s/no/img", top);
	assert_int_equal(try_create(), -ENOENT);
	assert_int_equal(try_image(), -ENOENT);
	snprintf(dir, sizeof(dir), "%s/img", top);
	int fd = open(dir, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(try_create(), -ENOTDIR);
	assert_int_equal(try_image(), -ENOTDIR);
	unlink(dir);
}

static void test_leftover_is_reused(void **state)
{
	assert_int_equal(mkdir(dir, 0700), 0);
	put_file("manifest.tmp", "", 0);
	put_file("core.task.img", "half", 4);
	put_file("pages-1.bin", "half", 4);
	assert_int_equal(try_image(), -ENOENT);
	write_sample();
	assert_int_equal(try_image(), 0);
	clear(dir);

	assert_int_equal(mkdir(dir, 0700), 0);
	put_file("manifest.tmp", "", 0);
	put_file("letter.txt", "dear", 4);
	assert_int_equal(try_create(), -ENOTEMPTY);
	assert_true(exists("letter.txt") && exists("manifest.tmp"));
}

static void test_odd_paths(void **state)
{
	char with_slash[80];
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img;
	int here = open(".", O_RDONLY | O_DIRECTORY);

	snprintf(with_slash, sizeof(with_slash), "%s//", dir);
	assert_int_equal(image_create(with_slash, false, &img, &err), 0);
	image_close(img);
	assert_int_equal(access(dir, F_OK), -1);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(image_create(".", false, &img, &err), 0);
	image_close(img);
	assert_int_equal(fchdir(here), 0);
	close(here);
	assert_int_equal(image_create("", false, &img, NULL) < 0, 1);
	assert_int_equal(image_create("/", false, &img, NULL), -ENOTEMPTY);
}

/* ---- damage ---- */

static const char *const all_files[] = {
	"manifest", "sample.long.img", "sample.longer.img", "pages-1.bin",
};

static void test_flips(void **state)
{
	write_sample();
	for (unsigned f = 0; f < ARRAY_SIZE(all_files); f++) {
		size_t len, step;
		unsigned char *p = get_file(all_files[f], &len);
		step = f > 0 ? len / 1000 : 1;
		int fd = open(in_dir(all_files[f]), O_WRONLY);
		for (size_t i = 0; i < len; i += step) {
			unsigned char bad = p[i] ^ (unsigned char)(1u << i % 8);
			assert_int_equal(pwrite(fd, &bad, 1, (off_t)i), 1);
			int r = try_image();
			if (r >= 0)
				fail_msg("%s: byte %zu changed, not noticed", all_files[f], i);
			assert_int_equal(pwrite(fd, &p[i], 1, (off_t)i), 1);
		}
		close(fd);
		free(p);
	}
	assert_int_equal(try_image(), 0);
}

static void test_lengths(void **state)
{
	write_sample();
	for (unsigned f = 0; f < ARRAY_SIZE(all_files); f++) {
		size_t len, step;
		unsigned char *p = get_file(all_files[f], &len);
		step = len / 500;
		assert_int_equal(truncate(in_dir(all_files[f]), (off_t)len + 1), 0);
		assert_true(try_image() < 0);
		for (size_t i = len; i > 0; i -= i < step ? i : step) {
			assert_int_equal(truncate(in_dir(all_files[f]), (off_t)i - 1), 0);
			assert_true(try_image() < 0);
		}
		put_file(all_files[f], p, len);
		free(p);
	}
	assert_int_equal(try_image(), 0);
}

static void test_missing_swapped_foreign(void **state)
{
	char a[128], b[128], aside[128];

	write_sample();
	snprintf(aside, sizeof(aside), "%s/aside", top);
	for (unsigned f = 0; f < ARRAY_SIZE(all_files); f++) {
		snprintf(a, sizeof(a), "%s", in_dir(all_files[f]));
		assert_int_equal(rename(a, aside), 0);
		assert_true(try_image() < 0);
		assert_int_equal(symlink(aside, a), 0);
		assert_true(try_image() < 0);
		unlink(a);
		assert_int_equal(mkfifo(a, 0600), 0);
		assert_true(try_image() < 0);
		unlink(a);
		assert_int_equal(mkdir(a, 0700), 0);
		assert_true(try_image() < 0);
		rmdir(a);
		assert_int_equal(rename(aside, a), 0);
		for (unsigned g = 0; g < f; g++) {
			snprintf(b, sizeof(b), "%s", in_dir(all_files[g]));
			assert_int_equal(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), 0);
			assert_true(try_image() < 0);
			assert_int_equal(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), 0);
		}
	}
	put_file("notes.txt", "extra files are nobody's business", 10);
	put_file("sample.other.img", "not in the manifest", 10);
	assert_int_equal(try_image(), 0);
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
		assert_int_equal(sample_write(dir, &c, &err), 0);
		assert_int_equal(image_open(dir, true, &img, &err), 0);
		int r = core_records_load(img, &got, &err);
		if (r >= 0 || !strstr(err.message, wrongs[i].says) || !err.object[0])
			fail_msg("%s: %d %s: %s", wrongs[i].name, r, err.object, err.message);
		image_close(img);
		core_records_free(&c);
		clear(dir);
	}
}

/* A manifest of other contents with a good checksum. */
static int try_manifest(void (*change)(Crcore__Manifest *), struct crcore_error *err)
{
	Crcore__Manifest m;
	struct image *img;
	int r;

	assert_int_equal(image_create(dir, false, &img, err), 0);
	sample_manifest(&m);
	change(&m);
	assert_int_equal(image_seal(img, &m, err), 0);
	image_close(img);
	r = image_open(dir, true, &img, err);
	if (r == 0)
		image_close(img);
	clear(dir);
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
		cmocka_unit_test_teardown(test_round_trip, drop_dir),
		cmocka_unit_test_teardown(test_many_records, drop_dir),
		cmocka_unit_test_teardown(test_bulk_ways, drop_dir),
		cmocka_unit_test_teardown(test_unsealed_is_removed, drop_dir),
		cmocka_unit_test_teardown(test_folder_is_refused, drop_dir),
		cmocka_unit_test_teardown(test_leftover_is_reused, drop_dir),
		cmocka_unit_test_teardown(test_odd_paths, drop_dir),
		cmocka_unit_test_teardown(test_flips, drop_dir),
		cmocka_unit_test_teardown(test_lengths, drop_dir),
		cmocka_unit_test_teardown(test_missing_swapped_foreign, drop_dir),
		cmocka_unit_test_teardown(test_wrong_records, drop_dir),
		cmocka_unit_test_teardown(test_wrong_manifest, drop_dir),
	};

	return cmocka_run_group_tests(tests, make_top, drop_top);
}
