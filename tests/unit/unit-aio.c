/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin aio, with a host of the test: what is written of a ring, what is made of it, whom
 * it is made for, requests that may never end, records that are damaged. */
#include "fake-host.h"

#include <linux/aio_abi.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define EVENTS 3
#define LEN 4096 /* of a small ring */

static const char *so;
static aio_context_t ctx;
static struct fake *f;

/* The ring in this process as an object, with events in it, where the machine lets us look. */
static struct crcore_object *ring_object(void)
{
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_data = 7 }, *one = &cb;
	char path[100];

	ctx = 0;
	assert_int_equal(syscall(SYS_io_setup, 1, &ctx), 0);
	cb.aio_fildes = (uint32_t)open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < EVENTS; i++)
		assert_int_equal(syscall(SYS_io_submit, ctx, 1, &one), 1);
	close((int)cb.aio_fildes);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (long)ctx, (long)ctx + LEN);
	f = fake_new(so);
	fake_open(f);
	struct crcore_object *o = fake_file(f, path, CRCORE_USE_MAPPING, O_RDWR);
	o->start = ctx;
	o->end = ctx + LEN;
	if (fake_claim(f, o) < 0 && strstr(f->err.message, "BPF"))
		skip();
	return o;
}

static void done(void)
{
	syscall(SYS_io_destroy, ctx);
	fake_free(f);
}

static void test_made_again(void **state)
{
	struct crcore_object *o = ring_object();
	char was[LEN], is[LEN];

	assert_int_equal(fake_save(f), 0);
	assert_int_equal(f->nrecords, 1);
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
	int fd = fake_create(f, o->id);
	memcpy(was, (const void *)ctx, LEN);
	assert_int_equal(pread(fd, is, LEN, 0), LEN);
	memset(was, 0, 4);
	memset(is, 0, 4); /* the number in the kernel's table */
	assert_memory_equal(was, is, LEN);
	done();
}

static void test_owner(void **state)
{
	struct crcore_object *o = ring_object();
	struct crcore_mapping m = { sizeof(m), PROT_READ | PROT_WRITE, ctx, ctx + LEN, 0, getpid() };
	const struct crcore_mapping *v[] = { &m };
	struct crcore_program *p = (void *)f;

	assert_int_equal(fake_save(f), 0);
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
	assert_int_equal(f->plugin->map(f->state, o->id, v, 1, 0, 0, p, &f->err), 1);
	assert_int_equal(f->ops[1].nr, SYS_io_setup);
	assert_int_equal(f->ops[f->nops - 1].nr, SYS_close);
	f->nops = 0;
	m.pid = getppid(); /* it only has the ring as memory */
	assert_int_equal(f->plugin->map(f->state, o->id, v, 1, 0, 0, p, &f->err), 0);
	assert_int_equal(f->nops, 0);
	m.pid = getpid();
	m.end += LEN;
	assert_int_equal(f->plugin->map(f->state, o->id, v, 1, 0, 0, p, &f->err), -EBADMSG);
	assert_int_equal(f->plugin->map(f->state, 99, v, 1, 0, 0, p, &f->err), -EBADMSG);
	done();
}

static void test_waiting(void **state)
{
	struct crcore_object *o = ring_object();
	int fds[2];
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = POLLIN }, *one = &cb;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	cb.aio_fildes = (uint32_t)fds[0];
	assert_int_equal(syscall(SYS_io_submit, ctx, 1, &one), 1);
	assert_int_equal(fake_claim(f, o), -EBUSY);
	assert_non_null(strstr(f->err.message, "IOCB_CMD_POLL"));
	close(fds[1]); /* hangs up, which is an event */
	for (int i = 0; i < 1000 && fake_claim(f, o) < 0; i++)
		usleep(1000);
	assert_int_equal(fake_claim(f, o), CRCORE_CLAIM_EXACT);
	close(fds[0]);
	done();
}

static void test_pieces(void **state)
{
	struct crcore_object *o = ring_object();

	o->end += LEN;
	assert_int_equal(fake_claim(f, o), -ENOTSUP);
	o->end -= LEN;
	o->st.st_ino++;
	assert_int_equal(fake_claim(f, o), -ENOTSUP);
	assert_non_null(strstr(f->err.message, "outside"));
	o->st.st_size = 0; /* was destroyed */
	assert_int_equal(fake_claim(f, o), CRCORE_CLAIM_EXACT);
	assert_int_equal(fake_save(f), 0);
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
	assert_int_equal(lseek(fake_create(f, o->id), 0, SEEK_END), 0);
	done();
}

static void test_damage(void **state)
{
	ring_object();
	assert_int_equal(fake_save(f), 0);
	fake_reopen(f);
	assert_int_equal(fake_load(f), 0);
	assert_true(fake_damage(f, 1000) > 100);
	done();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_made_again), cmocka_unit_test(test_owner), cmocka_unit_test(test_waiting),
		cmocka_unit_test(test_pieces), cmocka_unit_test(test_damage),
	};

	if (argc < 2)
		return 2;
	so = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
