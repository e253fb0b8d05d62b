/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin ttys, with a host of the test: both sides of a pseudo-terminal, and what is in it. */
#include "fake-host.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>

static const char *so;

struct pair { int master, slave; char path[64]; struct termios termios; };

static struct pair make(void)
{
	const struct winsize size = { 33, 77, 1, 2 };
	struct pair p = { .master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK) };

	assert_true(p.master >= 0);
	assert_int_equal(unlockpt(p.master), 0);
	assert_int_equal(ptsname_r(p.master, p.path, sizeof(p.path)), 0);
	p.slave = open(p.path, O_RDWR | O_NOCTTY | O_NONBLOCK);
	assert_true(p.slave >= 0);
	assert_int_equal(tcgetattr(p.slave, &p.termios), 0);
	p.termios.c_cc[VINTR] = 7;
	p.termios.c_oflag &= ~(tcflag_t)ONLCR;
	assert_int_equal(tcsetattr(p.slave, TCSANOW, &p.termios), 0);
	assert_int_equal(ioctl(p.slave, TIOCSWINSZ, &size), 0);
	return p;
}

static struct fake *begin(void)
{
	struct fake *f = fake_new(so);

	fake_open(f);
	return f;
}

/* Lets go of the old terminal, so that its number is free, and makes the new one. */
static int again(struct fake *f, struct pair *p)
{
	close(p->master);
	close(p->slave);
	for (unsigned i = 0; i < f->nobjects; i++) {
		close(f->objects[i].local_fd);
		f->objects[i].local_fd = -1;
	}
	fake_reopen(f);
	return fake_load(f);
}

static short events(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	poll(&p, 1, 100);
	return p.revents;
}

static ssize_t get(int fd, char *buf, size_t len)
{
	events(fd);
	return read(fd, buf, len);
}

static void test_pair(void **state)
{
	struct fake *f = begin();
	struct pair p = make();
	struct termios termios;
	struct winsize size;
	char path[64], buf[16] = "";
	int m, s;

	fake_object(f, p.slave);
	fake_object(f, p.master);
	fchmod(p.slave, 0604);
	assert_int_equal(fake_save(f), 0);
	assert_int_equal(again(f, &p), 0);
	m = fake_create(f, 2);
	s = fake_create(f, 1);
	assert_true(m >= 0 && s >= 0);
	assert_int_equal(f->plugin->settle(f->state, &f->err), 0);
	assert_int_equal(ptsname_r(m, path, sizeof(path)), 0);
	assert_string_equal(path, p.path);
	assert_int_equal(fcntl(m, F_GETFL), f->objects[1].flags);
	assert_int_equal(fcntl(s, F_GETFL), f->objects[0].flags);
	assert_int_equal(tcgetattr(s, &termios), 0);
	assert_int_equal(termios.c_cc[VINTR], 7);
	assert_int_equal(termios.c_oflag, p.termios.c_oflag);
	assert_int_equal(ioctl(m, TIOCGWINSZ, &size), 0);
	assert_int_equal(size.ws_row, 33);
	assert_int_equal(size.ws_col, 77);
	assert_int_equal(write(s, "out", 3), 3);
	assert_int_equal(get(m, buf, sizeof(buf)), 3);
	assert_string_equal(buf, "out");
	fake_free(f);
}

/* Complete lines, an unfinished one, output: both in the old terminal and in the new. */
static void check_flight(struct pair *p)
{
	char buf[32] = "";

	assert_int_equal(get(p->master, buf, sizeof(buf)), 6);
	assert_memory_equal(buf, "output", 6);
	assert_int_equal(get(p->slave, buf, sizeof(buf)), 4);
	assert_memory_equal(buf, "one\n", 4);
	assert_int_equal(get(p->slave, buf, sizeof(buf)), 4);
	assert_memory_equal(buf, "two\n", 4);
	assert_int_equal(get(p->slave, buf, sizeof(buf)), -1); /* not finished */
	assert_int_equal(write(p->master, "ee\n", 3), 3);
	assert_int_equal(get(p->slave, buf, sizeof(buf)), 6);
	assert_memory_equal(buf, "three\n", 6);
}

static void test_flight(void **state)
{
	struct fake *f = begin();
	struct pair p = make(), new = { 0 };
	struct termios termios;

	p.termios.c_lflag &= ~(tcflag_t)ECHO;
	tcsetattr(p.slave, TCSANOW, &p.termios);
	assert_int_equal(write(p.slave, "output", 6), 6);
	assert_int_equal(write(p.master, "one\ntwo\nthr", 11), 11);
	fake_object(f, p.master);
	fake_object(f, p.slave);
	assert_int_equal(fake_save(f), 0);
	assert_int_equal(tcgetattr(p.slave, &termios), 0);
	assert_memory_equal(&termios, &p.termios, offsetof(struct termios, c_cc) + NCCS);
	check_flight(&p);
	assert_int_equal(again(f, &p), 0);
	new.master = fake_create(f, 1);
	new.slave = fake_create(f, 2);
	assert_true(new.master >= 0 && new.slave >= 0);
	check_flight(&new);
	fake_free(f);
}

static void test_raw_and_packet(void **state)
{
	struct fake *f = begin();
	struct pair p = make();
	char buf[16] = "";
	int one = 1, m, s;

	cfmakeraw(&p.termios);
	tcsetattr(p.slave, TCSANOW, &p.termios);
	assert_int_equal(ioctl(p.master, TIOCPKT, &one), 0);
	assert_int_equal(write(p.master, "a\r\x03", 3), 3);
	assert_int_equal(write(p.slave, "x\n", 2), 2);
	fake_object(f, p.master);
	fake_object(f, p.slave);
	assert_int_equal(fake_save(f), 0);
	assert_int_equal(again(f, &p), 0);
	m = fake_create(f, 1);
	s = fake_create(f, 2);
	assert_int_equal(get(s, buf, sizeof(buf)), 3);
	assert_memory_equal(buf, "a\r\x03", 3);
	assert_int_equal(ioctl(m, TIOCGPKT, &one), 0);
	assert_int_equal(one, 1);
	assert_int_equal(get(m, buf, sizeof(buf)), 3);
	assert_memory_equal(buf, "\0x\n", 3);
	fake_free(f);
}

static void test_closed_sides(void **state)
{
	struct fake *f = begin();
	struct pair p = make(), q = make(), r = make();
	int m;

	close(p.slave);   /* had one, has none: EIO */
	p.slave = -1;
	close(q.slave);
	close(q.master);  /* hung up */
	q.slave = open(r.path, O_RDONLY | O_NOCTTY);
	close(r.master);
	r.master = open("/dev/null", O_RDONLY);
	fake_object(f, p.master);
	fake_object(f, q.slave);
	assert_int_equal(fake_save(f), 0);
	close(r.slave);
	close(r.master);
	close(q.slave);
	assert_int_equal(again(f, &p), 0);
	m = fake_create(f, 1);
	assert_true(m >= 0 && fake_create(f, 2) >= 0);
	assert_int_equal(f->plugin->settle(f->state, &f->err), 0);
	assert_true(events(m) & POLLHUP);
	assert_int_equal(read(fake_create(f, 2), &p, 1), 0);
	assert_true(events(fake_create(f, 2)) & POLLHUP);
	fake_free(f);
}

static unsigned number_of(int master)
{
	unsigned n = 0;

	assert_int_equal(ioctl(master, TIOCGPTN, &n), 0);
	return n;
}

/* In whichever order they are made: each gets its number, and none is left over. */
static void test_numbers(void **state)
{
	enum { N = 6, GAP = 2 };
	static const unsigned order[] = { 5, 3, 4, 1, 0 };
	struct fake *f = begin();
	struct pair p[N];
	unsigned was[N];

	for (unsigned i = 0; i < N; i++)
		p[i] = make();
	for (unsigned i = 0; i < N; i++) {
		was[i] = number_of(p[i].master);
		if (i != GAP)
			fake_object(f, p[i].master);
	}
	assert_int_equal(fake_save(f), 0);
	for (unsigned i = 0; i + 1 < N; i++) {
		close(p[i].master);
		close(p[i].slave);
	}
	assert_int_equal(again(f, &p[N - 1]), 0);
	for (unsigned i = 0; i < N - 1; i++) {
		int fd = fake_create(f, order[i] < GAP ? order[i] + 1 : order[i]);
		assert_true(fd >= 0);
		assert_int_equal(number_of(fd), was[order[i]]);
		assert_int_equal(fcntl(fd, F_GETFL), f->objects[0].flags);
	}
	p[GAP] = make();
	assert_int_equal(number_of(p[GAP].master), was[GAP]);
	close(p[GAP].master);
	close(p[GAP].slave);
	fake_free(f);
}

static void test_number_taken(void **state)
{
	struct fake *f = begin();
	struct pair p = make();

	fake_object(f, p.master);
	fake_object(f, p.slave);
	assert_int_equal(fake_save(f), 0);
	fake_reopen(f);
	assert_int_equal(fake_load(f), -EEXIST);
	assert_string_equal(f->err.object, p.path);
	fake_option(f, "renumber", (struct crcore_value){ .b = true });
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
	assert_true(fake_create(f, 1) >= 0 && fake_create(f, 2) >= 0);
	close(p.master);
	close(p.slave);
	fake_free(f);
}

static void test_external(void **state)
{
	struct fake *f = begin();
	struct pair p = make(), own = make();
	struct crcore_object *o = fake_object(f, p.slave);
	int zero, s;

	f->tasks[0].sid = f->tasks[0].pid; /* not a job of a shell */
	assert_int_equal(fake_save(f), -ENOTSUP);
	assert_string_equal(f->err.object, p.path);
	assert_non_null(strstr(f->err.advice, "inherit"));
	f->tasks[0].sid = 1;
	assert_int_equal(fake_save(f), 0);
	fake_reopen(f);
	zero = fcntl(0, F_DUPFD, 10);
	dup2(own.slave, 0);
	assert_int_equal(fake_load(f), 0);
	s = fake_create(f, o->id);
	assert_true(s >= 0);
	assert_int_equal(fcntl(s, F_GETFL), fcntl(p.slave, F_GETFL));
	tcgetattr(own.master, &own.termios);
	assert_int_equal(own.termios.c_cc[VINTR], 7);
	dup2(zero, 0);
	close(zero);
	close(p.master);
	close(p.slave);
	close(own.master);
	close(own.slave);
	fake_free(f);
}

static void test_session(void **state)
{
	struct fake *f = begin();
	struct pair p = make();
	int pid, status, ready[2];
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		setsid();
		ioctl(p.slave, TIOCSCTTY, 0);
		status = (int)write(ready[1], "", 1);
		pause();
		_exit(status);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	fake_task(f, pid, pid);
	fake_object(f, p.master);
	fake_object(f, p.slave);
	assert_int_equal(fake_save(f), 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(ready[0]);
	close(ready[1]);
	assert_int_equal(again(f, &p), 0);
	assert_true(fake_create(f, 1) >= 0 && fake_create(f, 2) >= 0);
	f->plugin->emit(f->state, &f->tasks[1], CRCORE_PHASE_FILES, (void *)f, &f->err);
	assert_int_equal(f->nops, 0);
	assert_int_equal(f->plugin->emit(f->state, &f->tasks[1], CRCORE_PHASE_SESSION, (void *)f,
	                                 &f->err), 0);
	assert_int_equal(f->nops, 3); /* fetch, take, close */
	assert_int_equal(f->ops[0].args[0].value, 2);
	assert_int_equal(f->ops[1].nr, SYS_ioctl);
	assert_int_equal(f->ops[1].args[1].value, TIOCSCTTY);
	f->nops = 0;
	assert_int_equal(f->plugin->emit(f->state, &f->tasks[1], CRCORE_PHASE_LATE, (void *)f, &f->err), 0);
	assert_int_equal(f->ops[2].args[1].value, TIOCSPGRP);
	assert_int_equal(*(int *)f->data[f->ops[2].args[2].ref], pid);
	f->nops = 0;
	f->plugin->emit(f->state, &f->tasks[0], CRCORE_PHASE_SESSION, (void *)f, &f->err);
	assert_int_equal(f->nops, 0);
	fake_free(f);
}

static void test_damaged(void **state)
{
	struct fake *f = begin();
	struct pair p = make();
	int fd;

	fake_object(f, p.master);
	fake_object(f, p.slave);
	assert_int_equal(fake_save(f), 0);
	assert_int_equal(again(f, &p), 0);
	for (unsigned r = 0; r < f->nrecords; r++)
		for (size_t at = 0; at < f->records[r].len * 8; at++) {
			unsigned char *byte = (unsigned char *)f->records[r].msg + at / 8;
			*byte ^= 1 << at % 8;
			fake_reopen(f);
			if (fake_load(f) == 0 && (fd = f->plugin->create(f->state, 1, &f->err)) >= 0)
				close(fd);
			*byte ^= 1 << at % 8;
		}
	fake_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pair), cmocka_unit_test(test_flight),
		cmocka_unit_test(test_raw_and_packet), cmocka_unit_test(test_closed_sides),
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_number_taken),
		cmocka_unit_test(test_external),
		cmocka_unit_test(test_session), cmocka_unit_test(test_damaged),
	};

	so = argc > 1 ? argv[1] : "";
	if (access("/dev/ptmx", R_OK | W_OK) < 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
