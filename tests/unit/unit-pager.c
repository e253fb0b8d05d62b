/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pager on paper: what an address space lacks after cuts and moves, against an oracle that
 * keeps every page by itself; the recorded order, whole and damaged; and the changes of several
 * threads, told in another order than that in which they were made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "core/pager/priv.h"

/* ---- places ------------------------------------------------------------------------------ */

enum { ROOM = 400, STEPS = 20000 };

static uint64_t next(uint64_t *s)
{
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	return *s >> 33;
}

static void compare(const struct places *p, const uint64_t *oracle)
{
	uint64_t bytes = 0;

	for (uint64_t i = 0; i < ROOM; i++) {
		const struct span *s = places_at(p, i * PAGE);
		assert_int_equal(s ? s->val + (i * PAGE - s->start) : 0, oracle[i]);
		bytes += oracle[i] ? PAGE : 0;
	}
	assert_int_equal(p->bytes, bytes);
	for (size_t i = 1; i < p->n; i++)
		assert_true(p->v[i - 1].end <= p->v[i].start && p->v[i - 1].start <= p->v[i - 1].end);
}

static void places_are_as_the_oracle_says(void **state)
{
	uint64_t oracle[ROOM] = { 0 }, moved[ROOM], seed = 7;
	struct places p = { 0 };

	for (uint64_t i = 0; i < ROOM; i += 40) {
		assert_true(places_add(&p, i * PAGE, 30 * PAGE, (1000 + i) * PAGE));
		for (uint64_t k = i; k < i + 30; k++)
			oracle[k] = (1000 + k) * PAGE;
	}
	for (int step = 0; step < STEPS; step++) {
		uint64_t from = next(&seed) % ROOM, len = 1 + next(&seed) % 25, to = next(&seed) % ROOM;
		len = from + len > ROOM ? ROOM - from : len;
		if (next(&seed) % 8 == 0) {
			assert_true(places_cut(&p, from * PAGE, (from + len) * PAGE));
			memset(oracle + from, 0, len * sizeof(*oracle));
		} else if (to + len <= ROOM && (to + len <= from || from + len <= to)) {
			assert_true(places_move(&p, from * PAGE, to * PAGE, len * PAGE));
			memcpy(moved, oracle + from, len * sizeof(*oracle));
			memset(oracle + from, 0, len * sizeof(*oracle));
			memcpy(oracle + to, moved, len * sizeof(*oracle));
		}
		if (step % 16 == 0 || step > STEPS - 50)
			compare(&p, oracle);
		if (!p.bytes) { /* all was cut: begin again */
			assert_true(places_move(&p, 0, PAGE, PAGE));
			places_free(&p);
			assert_true(places_add(&p, 0, ROOM * PAGE, PAGE));
			for (uint64_t k = 0; k < ROOM; k++)
				oracle[k] = (1 + k) * PAGE;
		}
	}
	struct places copy = { 0 };
	assert_true(places_copy(&p, &copy));
	compare(&copy, oracle);
	places_free(&copy);
	places_free(&p);
}

/* ---- changes ------------------------------------------------------------------------------- */

static struct note move(uint64_t from, uint64_t to, uint64_t pages)
{
	struct note n = { .msg.event = UFFD_EVENT_REMAP };

	n.msg.arg.remap.from = from;
	n.msg.arg.remap.to = to;
	n.msg.arg.remap.len = pages * PAGE;
	return n;
}

static struct note unmap(uint64_t start, uint64_t pages)
{
	struct note n = { .msg.event = UFFD_EVENT_UNMAP };

	n.msg.arg.remove.start = start;
	n.msg.arg.remove.end = start + pages * PAGE;
	return n;
}

enum { A = 0x100000, B = 0x200000, C = 0x300000, D = 0x400000, BYTES_A = 0x10000, BYTES_B = 0x20000 };

/* Memory of 4 pages at A and at B. */
static struct space two_pieces(void)
{
	struct space s = { .uffd = -1 };

	assert_true(places_add(&s.view.lacks, A, 4 * PAGE, BYTES_A));
	assert_true(places_add(&s.view.lacks, B, 4 * PAGE, BYTES_B));
	assert_true(places_add(&s.view.watched, A, 4 * PAGE, 0));
	assert_true(places_add(&s.view.watched, B, 4 * PAGE, 0));
	return s;
}

static uint64_t bytes_at(const struct space *s, uint64_t addr)
{
	const struct span *x = places_at(&s->view.lacks, addr);

	return x ? x->val + (addr - x->start) : 0;
}

static int tell(struct state *p, struct space *s, struct note *n, unsigned batch,
                struct crcore_error *err)
{
	n->batch = batch;
	return changes_add(p, s, n, err);
}

static void a_late_move_is_waited_for(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct state p = { 0 };
	struct space s = two_pieces();
	bool time;

	/* A went to C, then B to A; that is told first. */
	struct note told[] = { move(B, A, 4), unmap(B, 4), move(A, C, 4), unmap(A, 4) };
	assert_int_equal(tell(&p, &s, &told[0], 1, &err), 0);
	assert_true(changes_held(&s, &time));
	assert_int_equal(bytes_at(&s, A), BYTES_A);
	for (int i = 1; i < 4; i++)
		assert_int_equal(tell(&p, &s, &told[i], 2, &err), 0);
	assert_false(changes_held(&s, &time));
	assert_int_equal(bytes_at(&s, A), BYTES_B);
	assert_int_equal(bytes_at(&s, C + PAGE), BYTES_A + PAGE);
	assert_int_equal(bytes_at(&s, B), 0);
	changes_free(&s);
}

static void a_late_unmap_is_waited_for(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct state p = { 0 };
	struct space s = two_pieces();

	struct note told[] = { move(B, A, 4), unmap(A, 4), unmap(B, 4) };
	for (int i = 0; i < 3; i++)
		assert_int_equal(tell(&p, &s, &told[i], 1, &err), 0);
	assert_int_equal(bytes_at(&s, A), BYTES_B);
	assert_int_equal(s.nheld, 0);
	changes_free(&s);
}

static void what_cannot_be_told_is_an_error(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct state p = { 0 };
	struct space s = two_pieces();

	/* Once the thread that moved B may go on, A may have been moved by it, too. */
	struct note told[] = { move(B, A, 4), unmap(B, 4), move(A, D, 4) };
	assert_int_equal(tell(&p, &s, &told[0], 1, &err), 0);
	assert_int_equal(tell(&p, &s, &told[1], 2, &err), 0);
	assert_true(tell(&p, &s, &told[2], 3, &err) < 0);
	assert_non_null(strstr(err.message, "cannot be told"));
	changes_free(&s);
}

/* The old place is used again before it is told that it was unmapped. */
static void a_companion_does_no_harm(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct state p = { 0 };
	struct space s = two_pieces();

	struct note told[] = { move(A, C, 4), move(B, A, 4), unmap(A, 4), unmap(B, 4) };
	for (int i = 0; i < 4; i++)
		assert_int_equal(tell(&p, &s, &told[i], (unsigned)i + 1, &err), 0);
	assert_int_equal(bytes_at(&s, A), BYTES_B);
	assert_int_equal(bytes_at(&s, C), BYTES_A);
	changes_free(&s);
}

/* ---- shared memory ------------------------------------------------------------------------- */

/* 8 pages of a segment of 16 at A, from its page 4 on; private memory at B. */
static void where_a_segment_is_follows_its_mappings(void **state)
{
	static const struct layout_fill fill = { 0, 16, 0x50000 };
	static const struct pager_segment segment = { &fill, 1, 16 * PAGE };
	static const struct pager_mapping mapping = { A, A + 8 * PAGE, 4 * PAGE, 0 };
	static const struct pager_space space = { .mappings = &mapping, .nmappings = 1 };
	/* Spaces stay until the pager ends. */
	static struct state p = { .setup = { .spaces = &space, .n = 1, .segments = &segment, .nsegments = 1 } };
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct space *s = space_add(&p, -1), *owner;
	uint64_t base, at;

	assert_true(places_add(&s->view.watched, A, 8 * PAGE, 0));
	assert_true(places_add(&s->view.watched, B, 4 * PAGE, 0));
	assert_true(shared_begin(&p));
	assert_false(shared_lacking(&p));
	p.v[1]->uffd = 0; /* as if it were watched */
	assert_true(shared_lacking(&p));
	assert_int_equal(p.v[1]->view.lacks.bytes, 16 * PAGE);
	base = places_from(&p.v[1]->view.lacks, 0)->start;

	assert_int_equal(shared_find(&p, s, A + PAGE, &owner, &at), 1);
	assert_ptr_equal(owner, p.v[1]);
	assert_int_equal(at, base + 5 * PAGE);
	assert_int_equal(shared_find(&p, s, B, &owner, &at), 0);
	/* It grew, or is there twice. */
	assert_int_equal(shared_find(&p, s, A + 8 * PAGE, &owner, &at), -1);

	struct note told[] = { move(A, C, 8), unmap(A, 8), unmap(C, 2) };
	for (int i = 0; i < 3; i++)
		assert_int_equal(tell(&p, s, &told[i], 1, &err), 0);
	assert_int_equal(shared_find(&p, s, C + 2 * PAGE, &owner, &at), 1);
	assert_int_equal(at, base + 6 * PAGE);
	assert_int_equal(shared_find(&p, s, A, &owner, &at), -1);

	/* What is thrown away of private memory concerns nobody else. */
	struct uffd_msg drop = { .event = UFFD_EVENT_REMOVE, .arg.remove = { B, B + 4 * PAGE } };
	shared_heed(&p, s, &drop);
	assert_false(p.dropped);
	drop.arg.remove.end += PAGE;
	shared_heed(&p, s, &drop);
	assert_true(p.dropped);
}

/* ---- the order ----------------------------------------------------------------------------- */

static void drop_order(struct order *o)
{
	free(o->v);
	free(o->seen);
}

static void the_order_is_read_as_it_was_written(void **state)
{
	const uint64_t length = 100 * ORDER_CHUNK, first[] = { 5, 99, 0, 7, 5 };
	char dir[] = "/tmp/unit-pager-XXXXXX";
	struct order a, b;

	assert_non_null(mkdtemp(dir));
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(order_begin(&a, length));
	for (size_t i = 0; i < ARRAY_SIZE(first); i++)
		order_note(&a, first[i] * ORDER_CHUNK + 17);
	assert_int_equal(a.n, 4);
	assert_true(order_write(&a, fd, 42));
	assert_true(order_begin(&b, length));
	order_read(&b, fd, 43);
	assert_int_equal(b.n, 0);
	order_read(&b, fd, 42);
	assert_int_equal(b.n, 4);
	assert_memory_equal(a.v, b.v, 4 * sizeof(*a.v));
	drop_order(&b);
	/* Any byte of it changed, or its end missing. */
	int file = openat(fd, "order-1.bin", O_RDWR | O_CLOEXEC);
	struct stat st;
	assert_int_equal(fstat(file, &st), 0);
	for (off_t i = 0; i < st.st_size; i++) {
		uint8_t byte, other;
		assert_int_equal(pread(file, &byte, 1, i), 1);
		other = byte ^ 0x81;
		assert_int_equal(pwrite(file, &other, 1, i), 1);
		assert_true(order_begin(&b, length));
		order_read(&b, fd, 42);
		assert_int_equal(b.n, 0);
		drop_order(&b);
		assert_int_equal(pwrite(file, &byte, 1, i), 1);
	}
	assert_int_equal(ftruncate(file, st.st_size - 1), 0);
	assert_true(order_begin(&b, length));
	order_read(&b, fd, 42);
	assert_int_equal(b.n, 0);
	drop_order(&b);
	drop_order(&a);
	unlinkat(fd, "order-1.bin", 0);
	close(file);
	close(fd);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_are_as_the_oracle_says),
		cmocka_unit_test(a_late_move_is_waited_for),
		cmocka_unit_test(a_late_unmap_is_waited_for),
		cmocka_unit_test(what_cannot_be_told_is_an_error),
		cmocka_unit_test(a_companion_does_no_harm),
		cmocka_unit_test(where_a_segment_is_follows_its_mappings),
		cmocka_unit_test(the_order_is_read_as_it_was_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
