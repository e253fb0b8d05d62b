/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin pipes, with a host of the test: bytes, packets, sizes, closed and foreign ends. */
#include "fake-host.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

static const char *so;

static struct fake *begin(void)
{
	struct fake *f = fake_new(so);

	fake_open(f);
	return f;
}

static void again(struct fake *f)
{
	assert_int_equal(fake_save(f), 0);
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
}

static void settle(struct fake *f)
{
	assert_int_equal(f->plugin->settle(f->state, &f->err), 0);
}

static short events(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	poll(&p, 1, 0);
	return p.revents;
}

static void test_bytes(void **state)
{
	struct fake *f = begin();
	int p[2], r, w, size;
	char buf[32] = "";

	assert_int_equal(pipe2(p, O_NONBLOCK), 0);
	assert_int_equal(fcntl(p[0], F_SETPIPE_SZ, 8192), 8192);
	assert_int_equal(write(p[1], "hello ", 6), 6);
	assert_int_equal(write(p[1], "world", 5), 5);
	fcntl(p[1], F_SETFL, 0);
	fake_object(f, p[1]);
	fake_object(f, p[0]);
	again(f);
	r = fake_create(f, 2);
	w = fake_create(f, 1);
	assert_true(r >= 0 && w >= 0);
	settle(f);
	assert_int_equal(fcntl(r, F_GETFL), O_RDONLY | O_NONBLOCK);
	assert_int_equal(fcntl(w, F_GETFL), O_WRONLY);
	assert_int_equal(fcntl(r, F_GETPIPE_SZ), 8192);
	assert_int_equal(write(w, "!", 1), 1);
	assert_int_equal(read(r, buf, sizeof(buf)), 12);
	assert_string_equal(buf, "hello world!");
	ioctl(p[0], FIONREAD, &size);
	assert_int_equal(size, 11); /* the old one still has it */
	close(p[0]);
	close(p[1]);
	fake_free(f);
}

/* A full pipe, of a size that leaves no slot free for tricks. */
static void test_full(void **state)
{
	struct fake *f = begin();
	static char in[1 << 16], out[1 << 16];
	int p[2], r;

	assert_int_equal(pipe2(p, O_NONBLOCK), 0);
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (char)(i * 7 + i / 256);
	assert_int_equal(write(p[1], in, sizeof(in)), sizeof(in));
	fake_object(f, p[0]);
	fake_object(f, p[1]);
	again(f);
	r = fake_create(f, 1);
	assert_true(r >= 0 && fake_create(f, 2) >= 0);
	assert_int_equal(read(r, out, sizeof(out)), sizeof(out));
	assert_memory_equal(in, out, sizeof(in));
	close(p[0]);
	close(p[1]);
	fake_free(f);
}

static void test_packets(void **state)
{
	static const char *const text[] = { "one", "twotwo", "x", "three" };
	struct fake *f = begin();
	int p[2], r;

	assert_int_equal(pipe2(p, O_NONBLOCK | O_DIRECT), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(write(p[1], text[i], strlen(text[i])), (ssize_t)strlen(text[i]));
	fake_object(f, p[0]);
	fake_object(f, p[1]);
	again(f);
	r = fake_create(f, 1);
	assert_int_equal(fcntl(fake_create(f, 2), F_GETFL), O_WRONLY | O_NONBLOCK | O_DIRECT);
	for (unsigned i = 0; i < 4; i++) {
		char buf[32] = "";
		assert_int_equal(read(r, buf, sizeof(buf)), (ssize_t)strlen(text[i]));
		assert_string_equal(buf, text[i]);
	}
	close(p[0]);
	close(p[1]);
	fake_free(f);
}

/* Two descriptions of each end: opened again through /proc. */
static void test_descriptions(void **state)
{
	struct fake *f = begin();
	int p[2], r2, both, fd[4];
	char path[40], buf[8] = "";

	assert_int_equal(pipe(p), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
	r2 = open(path, O_RDONLY | O_NONBLOCK);
	both = open(path, O_RDWR);
	assert_int_equal(write(both, "abc", 3), 3);
	fake_object(f, p[0]);
	fake_object(f, p[1]);
	fake_object(f, r2);
	fake_object(f, both);
	again(f);
	for (uint32_t i = 0; i < 4; i++)
		assert_true((fd[i] = fake_create(f, i + 1)) >= 0);
	settle(f);
	assert_int_equal(fcntl(fd[2], F_GETFL), fcntl(r2, F_GETFL));
	assert_int_equal(fcntl(fd[3], F_GETFL), fcntl(both, F_GETFL));
	assert_int_equal(read(fd[0], buf, 1), 1);
	assert_int_equal(read(fd[2], buf + 1, 1), 1);
	assert_int_equal(write(fd[1], "d", 1), 1);
	assert_int_equal(read(fd[3], buf + 2, 4), 2);
	assert_string_equal(buf, "abcd");
	close(p[0]);
	close(p[1]);
	close(r2);
	close(both);
	fake_free(f);
}

static void test_closed(void **state)
{
	struct fake *f = begin();
	int p[2], q[2], fd;
	char buf[8] = "";

	assert_int_equal(pipe(p), 0);
	assert_int_equal(pipe(q), 0);
	assert_int_equal(write(p[1], "rest", 4), 4);
	close(p[1]);
	close(q[0]);
	fake_object(f, p[0]);
	fake_object(f, q[1]);
	again(f);
	fd = fake_create(f, 1);
	assert_true(fd >= 0 && fake_create(f, 2) >= 0);
	settle(f);
	assert_int_equal(read(fd, buf, 8), 4);
	assert_string_equal(buf, "rest");
	assert_int_equal(read(fd, buf, 8), 0);
	assert_true(events(fake_create(f, 2)) & POLLERR);
	close(p[0]);
	close(q[1]);
	fake_free(f);
}

static void test_external(void **state)
{
	struct fake *f = begin();
	int p[2], fd;
	char c;
	struct crcore_object *o;

	assert_int_equal(pipe(p), 0);
	assert_int_equal(write(p[1], "x", 1), 1);
	o = fake_object(f, p[1]);
	assert_int_equal(fake_save(f), -ENOTSUP); /* this test holds the reading end */
	assert_non_null(strstr(f->err.message, "reading end"));
	assert_string_equal(f->err.object, o->link);
	assert_int_equal(f->err.fd, p[1]);
	assert_non_null(strstr(f->err.advice, "inherit"));
	fake_free(f);

	f = begin(); /* nothing was taken out */
	fake_object(f, p[0]);
	assert_int_equal(fake_save(f), -ENOTSUP);
	assert_non_null(strstr(f->err.message, "writing end"));
	fake_free(f);
	assert_int_equal(read(p[0], &c, 1), 1);

	f = fake_new(so);
	fake_option(f, "external", (struct crcore_value){ .i = 1 });
	fake_open(f);
	fake_object(f, p[0]);
	again(f);
	fd = fake_create(f, 1);
	assert_true(fd >= 0);
	settle(f);
	assert_true(events(fd) & POLLHUP);
	close(p[0]);
	close(p[1]);
	fake_free(f);
}

static void test_inherit(void **state)
{
	struct fake *f = fake_new(so);
	int p[2], one = fcntl(1, F_DUPFD, 10), old, fd;
	struct stat a, b;

	assert_int_equal(pipe(p), 0);
	fake_option(f, "external", (struct crcore_value){ .i = 2 });
	fake_open(f);
	old = dup2(p[1], 1);
	fake_object(f, 1);
	assert_int_equal(old, 1);
	assert_int_equal(fake_save(f), 0);
	dup2(one, 1);
	close(one);
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
	fd = fake_create(f, 1);
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(fstat(1, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	close(p[0]);
	close(p[1]);
	fake_free(f);
}

static void test_fifo(void **state)
{
	char dir[] = "/tmp/unit-pipes-XXXXXX", path[64], buf[8] = "";

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	for (int unlinked = 0; unlinked < 2; unlinked++) {
		struct fake *f = begin();
		int r, w, fd;
		assert_int_equal(mkfifo(path, 0600), 0);
		r = open(path, O_RDONLY | O_NONBLOCK);
		w = open(path, O_WRONLY);
		assert_int_equal(write(w, "fifo", 4), 4);
		if (unlinked)
			unlink(path);
		fake_object(f, r);
		fake_object(f, w);
		assert_int_equal(fake_save(f), 0);
		close(r);
		close(w);
		for (unsigned i = 0; i < f->nobjects; i++) { /* or it is open with its bytes */
			close(f->objects[i].local_fd);
			f->objects[i].local_fd = -1;
		}
		fake_reopen(f);
		assert_int_equal(fake_load(f), 0);
		fd = fake_create(f, 1);
		assert_true(fd >= 0 && fake_create(f, 2) >= 0);
		settle(f);
		assert_int_equal(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
		assert_int_equal(fcntl(fake_create(f, 2), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY);
		assert_int_equal(read(fd, buf, 8), 4);
		assert_string_equal(buf, "fifo");
		assert_int_equal(access(path, F_OK), unlinked ? -1 : 0);
		fake_free(f);
		unlink(path);
	}
	rmdir(dir);
}

/* A reader that was there first does not see a hang-up, before and after. */
static void test_fifo_alone(void **state)
{
	char dir[] = "/tmp/unit-pipes-XXXXXX", path[64];
	struct fake *f = begin();
	int r, fd;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	r = open(path, O_RDONLY | O_NONBLOCK);
	fake_object(f, r);
	again(f);
	close(r);
	fd = fake_create(f, 1);
	assert_true(fd >= 0);
	settle(f);
	assert_int_equal(events(fd), 0);
	close(open(path, O_WRONLY));
	assert_int_equal(events(fd), POLLHUP);
	fake_free(f);

	f = begin();
	r = open(path, O_RDWR);
	fake_object(f, r);
	assert_int_equal(fake_save(f), 0);
	unlink(path);
	fake_reopen(f);
	assert_int_equal(fake_load(f), -ENOENT);
	assert_string_equal(f->err.object, path);
	close(r);
	fake_free(f);
	rmdir(dir);
}

static void test_damaged(void **state)
{
	struct fake *f = begin();
	int p[2], fd;

	assert_int_equal(pipe2(p, O_NONBLOCK | O_DIRECT), 0);
	assert_int_equal(write(p[1], "a", 1), 1);
	assert_int_equal(write(p[1], "b", 1), 1);
	fake_object(f, p[0]);
	fake_object(f, p[1]);
	assert_int_equal(fake_save(f), 0);
	for (unsigned r = 0; r < f->nrecords; r++)
		for (size_t at = 0; at < f->records[r].len * 8; at++) {
			unsigned char *byte = (unsigned char *)f->records[r].msg + at / 8;
			*byte ^= 1 << at % 8;
			fake_reopen(f);
			if (fake_load(f) == 0)
				for (uint32_t id = 1; id < 3; id++)
					if ((fd = f->plugin->create(f->state, id, &f->err)) >= 0)
						close(fd);
			*byte ^= 1 << at % 8;
		}
	close(p[0]);
	close(p[1]);
	fake_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes), cmocka_unit_test(test_full), cmocka_unit_test(test_packets),
		cmocka_unit_test(test_descriptions), cmocka_unit_test(test_closed),
		cmocka_unit_test(test_external), cmocka_unit_test(test_inherit),
		cmocka_unit_test(test_fifo), cmocka_unit_test(test_fifo_alone),
		cmocka_unit_test(test_damaged),
	};

	so = argc > 1 ? argv[1] : "";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
