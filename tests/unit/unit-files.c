/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin files, with a host of the test: what is saved comes back, what changed is refused. */
#include "files-dir.h"

#include <sys/file.h>
#include <sys/syscall.h>

static void test_regular(void **state)
{
	struct fake *f = begin();
	int fd = make("regular", "0123456789", O_RDWR | O_APPEND | O_NOATIME), back;
	char c;

	lseek(fd, 7, SEEK_SET);
	back = again(f, fake_object(f, fd));
	assert_true(back >= 0);
	assert_int_equal(fcntl(back, F_GETFL), fcntl(fd, F_GETFL));
	assert_int_equal(lseek(back, 0, SEEK_CUR), 7);
	assert_int_equal(read(back, &c, 1), 1);
	assert_int_equal(c, '7');
	assert_string_equal(link_of(back), in_dir("regular"));
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 7);
	close(fd);
	fake_free(f);
}

static void test_flags(void **state)
{
	static const int flags[] = { O_RDONLY, O_WRONLY, O_RDWR | O_NONBLOCK, O_WRONLY | O_SYNC,
	                             O_RDWR | O_DSYNC, O_PATH, O_RDONLY | O_NOFOLLOW };

	for (unsigned i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		struct fake *f = begin();
		int fd = make("flags", "x", flags[i]), back = again(f, fake_object(f, fd));
		assert_true(back >= 0);
		assert_int_equal(fcntl(back, F_GETFL), fcntl(fd, F_GETFL));
		close(fd);
		fake_free(f);
	}
}

static void test_directory_and_device(void **state)
{
	struct fake *f = begin();
	int d = open(dir, O_RDONLY | O_DIRECTORY), null = open("/dev/null", O_WRONLY);
	struct crcore_object *od = fake_object(f, d), *on = fake_object(f, null);
	struct stat st;

	assert_int_equal(fake_claim(f, od), CRCORE_CLAIM_GENERIC);
	assert_int_equal(fake_claim(f, on), CRCORE_CLAIM_EXACT);
	assert_true(again(f, od) >= 0);
	assert_true(fake_create(f, on->id) >= 0);
	assert_int_equal(fstat(fake_create(f, od->id), &st), 0);
	assert_int_equal(st.st_ino, od->st.st_ino);
	assert_int_equal(fstat(fake_create(f, on->id), &st), 0);
	assert_int_equal(st.st_rdev, on->st.st_rdev);
	close(d);
	close(null);
	fake_free(f);
}

static void test_not_ours(void **state)
{
	struct fake *f = begin();
	int p[2], epoll;

	assert_int_equal(pipe(p), 0);
	epoll = (int)syscall(SYS_epoll_create1, 0);
	assert_int_equal(fake_claim(f, fake_object(f, p[0])), CRCORE_CLAIM_NONE);
	assert_int_equal(fake_claim(f, fake_object(f, epoll)), CRCORE_CLAIM_NONE);
	close(p[0]);
	close(p[1]);
	close(epoll);
	fake_free(f);
}

static int changed(int option, void (*change)(void))
{
	struct fake *f = fake_new(so);
	int fd = make("changes", "before", O_RDONLY), r;

	fake_option(f, "changed-file", (struct crcore_value){ .i = option });
	fake_open(f);
	fake_object(f, fd);
	assert_int_equal(fake_save(f), 0);
	change();
	fake_reopen(f);
	r = fake_load(f);
	if (r < 0)
		assert_string_equal(f->err.object, in_dir("changes"));
	close(fd);
	fake_free(f);
	return r;
}

static void grow(void) { close(make("changes", "before and after", O_RDONLY)); }
static void shrink(void) { close(make("changes", "be", O_RDONLY)); }
static void vanish(void) { unlink(in_dir("changes")); }
static void nothing(void) { }
static void become_directory(void) { unlink(in_dir("changes")); mkdir(in_dir("changes"), 0700); }

static void test_changed(void **state)
{
	enum { REFUSE, ACCEPT, GREW };

	assert_int_equal(changed(REFUSE, nothing), 0);
	assert_int_equal(changed(REFUSE, grow), -ESTALE);
	assert_int_equal(changed(GREW, grow), 0);
	assert_int_equal(changed(ACCEPT, shrink), 0);
	assert_int_equal(changed(GREW, shrink), -ESTALE);
	assert_int_equal(changed(ACCEPT, vanish), -ENOENT);
	assert_int_equal(changed(ACCEPT, become_directory), -ESTALE);
	rmdir(in_dir("changes"));
}

/* Code that is mapped must be the same, whatever the option says. */
static void test_changed_mapping(void **state)
{
	struct fake *f = fake_new(so);
	int fd = make("library", "code", O_RDONLY);

	fake_option(f, "changed-file", (struct crcore_value){ .i = 1 });
	fake_open(f);
	snprintf(f->err.object, sizeof(f->err.object), "/proc/self/fd/%d", fd);
	fake_file(f, f->err.object, CRCORE_USE_MAPPING, O_RDONLY);
	assert_int_equal(fake_save(f), 0);
	close(make("library", "CODE", O_RDONLY));
	fake_reopen(f);
	assert_int_equal(fake_load(f), -ESTALE);
	close(fd);
	fake_free(f);
}

static void test_locks(void **state)
{
	struct fake *f = begin();
	int fd = make("locked", "0123456789", O_RDWR), other = open(in_dir("locked"), O_RDWR), back;
	struct flock range = { .l_type = F_WRLCK, .l_start = 2, .l_len = 3 }, posix = range;
	struct crcore_object *o;

	assert_int_equal(flock(fd, LOCK_SH), 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &range), 0);
	o = fake_object(f, fd);
	assert_int_equal(fake_save(f), 0);
	fcntl(fd, F_OFD_SETLK, &(struct flock){ .l_type = F_UNLCK });
	flock(fd, LOCK_UN);
	assert_int_equal(flock(other, LOCK_EX), 0); /* in the way */
	fake_reopen(f);
	assert_int_equal(fake_load(f), -EWOULDBLOCK);
	assert_string_equal(f->err.object, in_dir("locked"));
	flock(other, LOCK_UN);
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
	back = fake_create(f, o->id);
	assert_true(back >= 0);
	f->plugin->emit(f->state, &f->tasks[0], CRCORE_PHASE_FILES, (void *)f, &f->err);
	assert_int_equal(f->nops, 1);
	assert_int_equal(f->ops[0].nr, SYS_flock);
	assert_int_equal(f->ops[0].args[0].value, fd);
	assert_int_equal(f->ops[0].args[1].value, LOCK_SH | LOCK_NB);
	assert_int_equal(fcntl(other, F_OFD_GETLK, &range), 0);
	assert_int_equal(range.l_type, F_WRLCK);
	assert_int_equal(range.l_start, 2);
	assert_int_equal(range.l_len, 3);
	fake_free(f);

	f = begin();
	assert_int_equal(fcntl(fd, F_SETLK, &posix), 0);
	fake_object(f, fd);
	assert_int_equal(fake_save(f), 0);
	fake_reopen(f);
	assert_int_equal(fake_load(f), -EWOULDBLOCK); /* this process has it still */
	posix.l_type = F_UNLCK;
	assert_int_equal(fcntl(fd, F_SETLK, &posix), 0);
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
	f->plugin->emit(f->state, &f->tasks[0], CRCORE_PHASE_LATE, (void *)f, &f->err);
	assert_int_equal(f->nops, 1);
	assert_int_equal(f->ops[0].nr, SYS_fcntl);
	assert_int_equal(f->ops[0].args[0].value, fd);
	assert_int_equal(((struct flock *)f->data[f->ops[0].args[2].ref])->l_len, 3);
	close(fd);
	close(other);
	fake_free(f);
}

static void test_proc(void **state)
{
	struct fake *f = begin();
	int fd = open("/proc/meminfo", O_RDONLY), own = open("/proc/self/status", O_RDONLY);
	int one = open("/proc/1/status", O_RDONLY);
	struct crcore_object *o = fake_object(f, fd), *p = fake_object(f, own);
	char c;

	lseek(own, 5, SEEK_SET);
	p->pos = 5;
	assert_true(read(fd, &c, 1) == 1);
	assert_true(again(f, o) >= 0);
	assert_true(fake_create(f, p->id) >= 0);
	assert_int_equal(f->plugin->emit(f->state, &f->tasks[0], CRCORE_PHASE_FILES, (void *)f, &f->err),
	                 0);
	assert_int_equal(f->nops, 4);
	assert_int_equal(f->ops[0].nr, SYS_openat);
	assert_string_equal(f->data[f->ops[0].args[1].ref], p->link);
	assert_int_equal(f->ops[2].nr, SYS_dup3);
	assert_int_equal(f->ops[2].args[1].value, own);
	assert_int_equal(fake_claim(f, fake_object(f, one)), -ENOTSUP);
	close(fd);
	close(own);
	close(one);
	fake_free(f);
}

/* Whatever the bytes are: an error, never a crash. */
static void test_damaged(void **state)
{
	struct fake *f = begin();
	int fd = make("damaged", "contents", O_RDONLY), back;

	unlink(in_dir("damaged"));
	fake_object(f, fd);
	assert_int_equal(fake_save(f), 0);
	for (unsigned r = 0; r < f->nrecords; r++)
		for (size_t at = 0; at < f->records[r].len * 8; at++) {
			unsigned char *byte = (unsigned char *)f->records[r].msg + at / 8;
			*byte ^= 1 << at % 8;
			fake_reopen(f);
			back = fake_load(f) == 0 ? f->plugin->create(f->state, 1, &f->err) : -1;
			if (back >= 0)
				close(back);
			*byte ^= 1 << at % 8;
		}
	close(fd);
	fake_free(f);
}

static void test_inherit(void **state)
{
	const char *list[] = { "fd[9]:/none", NULL };
	char entry[PATH_MAX + 16];
	struct fake *f = fake_new(so);
	int fd = make("inherited", "old", O_RDONLY), own, back;
	struct stat a, b;

	fake_option(f, "inherit-fd", (struct crcore_value){ .list = list });
	fake_open(f);
	fake_object(f, fd);
	assert_int_equal(fake_save(f), 0);
	fake_reopen(f);
	list[0] = "nonsense";
	assert_int_equal(fake_load(f), -EINVAL);
	own = open("/dev/null", O_RDONLY);
	snprintf(entry, sizeof(entry), "fd[%d]:%s", own, in_dir("inherited"));
	list[0] = entry;
	unlink(in_dir("inherited"));
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
	back = fake_create(f, 1);
	assert_true(back >= 0 && !fstat(back, &a) && !fstat(own, &b));
	assert_int_equal(a.st_rdev, b.st_rdev);
	close(own);
	close(fd);
	fake_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_regular), cmocka_unit_test(test_flags),
		cmocka_unit_test(test_directory_and_device), cmocka_unit_test(test_not_ours), cmocka_unit_test(test_changed),
		cmocka_unit_test(test_changed_mapping), cmocka_unit_test(test_locks),
		cmocka_unit_test(test_proc), cmocka_unit_test(test_damaged), cmocka_unit_test(test_inherit),
	};

	so = argc > 1 ? argv[1] : "";
	if (!mkdtemp(dir))
		return 1;
	return cmocka_run_group_tests(tests, NULL, clean);
}
