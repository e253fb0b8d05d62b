/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin files: files without a name, or with another one than they were opened by. */
#include "files-dir.h"

#include <sys/mman.h>

/* A deleted file with a hole, held twice and mapped: one inode comes back. */
static void test_ghost(void **state)
{
	struct fake *f = begin();
	int fd = make("ghost", "begin", O_RDWR), ro = open(in_dir("ghost"), O_RDONLY), b1, b2, map;
	const struct timespec times[2] = { { 1000000000, 5 }, { 1100000000, 123456789 } };
	struct crcore_object *o1, *o2, *o3;
	struct stat st;
	char buf[6] = "";

	assert_int_equal(pwrite(fd, "end", 3, 8 << 20), 3);
	lseek(fd, 3, SEEK_SET);
	futimens(fd, times);
	fchmod(fd, 0604);
	unlink(in_dir("ghost"));
	o1 = fake_object(f, fd);
	o2 = fake_object(f, ro);
	snprintf(f->err.object, sizeof(f->err.object), "/proc/self/fd/%d", fd);
	o3 = fake_file(f, f->err.object, CRCORE_USE_MAPPING, O_RDWR);
	b1 = again(f, o1);
	assert_true(b1 >= 0);
	b2 = fake_create(f, o2->id);
	map = fake_create(f, o3->id);
	assert_true(b2 >= 0 && map >= 0);
	assert_int_equal(fstat(b1, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_mode, S_IFREG | 0604);
	assert_int_equal(st.st_size, (8 << 20) + 3);
	assert_true(st.st_blocks * 512 < 1 << 20);
	assert_int_equal(st.st_mtim.tv_sec, 1100000000);
	assert_int_equal(st.st_mtim.tv_nsec, 123456789);
	assert_int_equal(lseek(b1, 0, SEEK_CUR), 3);
	assert_int_equal(pwrite(b1, "B", 1, 0), 1);
	assert_int_equal(pread(b2, buf, 5, 0), 5);
	assert_string_equal(buf, "Begin");
	assert_int_equal(pread(map, buf, 5, 8 << 20), 3);
	assert_memory_equal(buf, "end", 3);
	assert_int_equal(pread(fd, buf, 5, 0), 5);
	assert_string_equal(buf, "begin"); /* it is not the old one */
	snprintf(buf, sizeof(buf), "x");
	assert_string_equal(link_of(b1), link_of(fd));
	assert_int_not_equal(access(in_dir("ghost"), F_OK), 0);
	close(fd);
	close(ro);
	fake_free(f);
}

static void test_ghost_limit(void **state)
{
	struct fake *f = fake_new(so);
	int fd = make("big", "0123456789", O_RDWR);
	struct crcore_object *o;

	fake_option(f, "ghost-limit", (struct crcore_value){ .i = 4096 });
	fake_open(f);
	assert_int_equal(pwrite(fd, dir, sizeof(dir), 100000), sizeof(dir));
	unlink(in_dir("big"));
	fsync(fd);
	o = fake_object(f, fd);
	assert_int_equal(fake_claim(f, o), -EFBIG);
	assert_non_null(strstr(f->err.advice, "ghost-limit"));
	assert_int_equal(f->err.fd, fd);
	assert_string_equal(f->err.object, o->link);
	close(fd);
	fake_free(f);
}

/* The name belongs to another file now: the ghost must not touch it. */
static void test_replaced(void **state)
{
	struct fake *f = begin();
	int fd = make("replaced", "old", O_RDONLY), back, other;
	char buf[4] = "";

	close(make("new", "0123", O_RDONLY));
	rename(in_dir("new"), in_dir("replaced"));
	back = again(f, fake_object(f, fd));
	assert_true(back >= 0);
	assert_int_equal(read(back, buf, 3), 3);
	assert_string_equal(buf, "old");
	other = open(in_dir("replaced"), O_RDONLY);
	assert_int_equal(read(other, buf, 3), 3);
	assert_string_equal(buf, "012");
	close(fd);
	close(other);
	fake_free(f);
}

static void test_memfd(void **state)
{
	struct fake *f = begin();
	int fd = memfd_create("some name", MFD_ALLOW_SEALING), back;
	char buf[6] = "";

	assert_int_equal(write(fd, "sealed", 6), 6);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW), 0);
	back = again(f, fake_object(f, fd));
	assert_true(back >= 0);
	assert_int_equal(pread(back, buf, 5, 0), 5);
	assert_string_equal(buf, "seale");
	assert_int_equal(fcntl(back, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_GROW);
	assert_int_equal(lseek(back, 0, SEEK_CUR), 6);
	assert_string_equal(link_of(back), "/memfd:some name (deleted)");
	close(fd);
	fake_free(f);
}

/* What O_TMPFILE opened can be given a name, after a restore too. */
static void test_tmpfile(void **state)
{
	struct fake *f = begin();
	int fd = open(dir, O_TMPFILE | O_RDWR | O_APPEND, 0600), back;
	char path[40];

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "tmp", 3), 3);
	back = again(f, fake_object(f, fd));
	assert_true(back >= 0);
	assert_int_equal(fcntl(back, F_GETFL), fcntl(fd, F_GETFL));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", back);
	assert_int_equal(linkat(AT_FDCWD, path, AT_FDCWD, in_dir("named"), AT_SYMLINK_FOLLOW), 0);
	close(fd);
	fake_free(f);
}

static void test_deleted_directory(void **state)
{
	struct fake *f = begin();
	struct crcore_object *o;
	struct stat st;
	int fd, back;

	mkdir(in_dir("d"), 0755);
	mkdir(in_dir("d/e"), 0711);
	fd = open(in_dir("d/e"), O_PATH | O_DIRECTORY);
	rmdir(in_dir("d/e"));
	rmdir(in_dir("d"));
	o = fake_object(f, fd);
	back = again(f, o);
	assert_true(back >= 0);
	assert_int_equal(fstat(back, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0711);
	assert_int_equal(st.st_nlink, o->st.st_nlink);
	close(fd);
	fake_free(f);
}

/* Deleted under the name it was opened by, but it has others. */
static void test_links(void **state)
{
	struct fake *f = fake_new(so);
	int fd = make("one", "linked", O_RDONLY), back;
	struct stat st;

	mkdir(in_dir("other"), 0700);
	assert_int_equal(link(in_dir("one"), in_dir("two")), 0);
	unlink(in_dir("one"));
	fake_open(f);
	back = again(f, fake_object(f, fd));
	assert_true(back >= 0);
	assert_string_equal(link_of(back), in_dir("two"));
	fake_free(f);

	rename(in_dir("two"), in_dir("other/three"));
	close(fd);
	fd = open(in_dir("other/three"), O_RDONLY);
	assert_int_equal(link(in_dir("other/three"), in_dir("four")), 0);
	unlink(in_dir("other/three"));
	f = fake_new(so);
	fake_open(f);
	assert_int_equal(fake_claim(f, fake_object(f, fd)), -ENOTSUP);
	assert_non_null(strstr(f->err.advice, "link-remap"));
	fake_free(f);

	f = fake_new(so);
	fake_option(f, "link-remap", (struct crcore_value){ .b = true });
	fake_open(f);
	back = again(f, fake_object(f, fd));
	assert_true(back >= 0);
	assert_int_equal(fstat(back, &st), 0);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(f->plugin->done(f->state, &f->err), 0);
	assert_int_equal(fstat(back, &st), 0);
	assert_int_equal(st.st_nlink, 1);
	fake_free(f);
	close(fd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ghost),
		cmocka_unit_test(test_ghost_limit),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_memfd),
		cmocka_unit_test(test_tmpfile),
		cmocka_unit_test(test_deleted_directory),
		cmocka_unit_test(test_links),
	};

	so = argc > 1 ? argv[1] : "";
	if (!mkdtemp(dir))
		return 1;
	return cmocka_run_group_tests(tests, NULL, clean);
}
