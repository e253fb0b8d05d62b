/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin tmpfiles with archives that somebody forged: refused, and nothing is made. */
#include "fake-host.h"

#include <string.h>
#include <sys/stat.h>

static const char *so;

struct member { const char *path; char type; const char *target; unsigned size; };

/* A header of the tar format, and blocks of contents. */
static void add(int fd, const struct member *m)
{
	char h[512] = "", block[512] = "";
	unsigned sum = 8 * ' ';

	snprintf(h, 100, "%s", m->path);
	strcpy(h + 100, "0000644");
	strcpy(h + 108, "0000000");
	strcpy(h + 116, "0000000");
	snprintf(h + 124, 12, "%011o", m->size);
	strcpy(h + 136, "00000000000");
	h[156] = m->type;
	if (m->target)
		snprintf(h + 157, 100, "%s", m->target);
	memcpy(h + 257, "ustar\00000", 8);
	for (int i = 0; i < 512; i++)
		sum += i >= 148 && i < 156 ? 0 : (unsigned char)h[i];
	snprintf(h + 148, 8, "%06o", sum);
	h[155] = ' ';
	assert_int_equal(write(fd, h, sizeof(h)), sizeof(h));
	for (unsigned n = 0; n < m->size; n += 512)
		assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
}

/* What check() says to an archive of these members, of which the record claims so many. */
static int check(const struct member *m, unsigned n, unsigned claimed, struct crcore_error *ret)
{
	struct fake *f = fake_new(so);
	char end[1024] = "";
	struct fake_bytes record = { .len = 0 };

	fake_open(f);
	for (unsigned i = 0; i < n; i++)
		add(f->blob, &m[i]);
	assert_int_equal(write(f->blob, end, sizeof(end)), sizeof(end));
	fake_put_number(&record, 1, claimed);
	fake_add(f, "archive", &record);
	int r = fake_load(f);
	*ret = f->err;
	fake_free(f);
	return r;
}

static void refused(const struct member *m, unsigned n, unsigned claimed, int code, const char *words)
{
	struct crcore_error err;

	assert_int_equal(check(m, n, claimed, &err), code);
	if (!strstr(err.message, words))
		fail_msg("\"%s\" is not in \"%s\"", words, err.message);
}

static void paths(void **state)
{
	static const char *const bad[] = { "relative", "/", "/tmp/../etc/x", "/tmp/./x", "//tmp/x",
		"/tmp//x", "/tmp/..", "..", "/tmp/x//" };

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct member m = { bad[i], '0' };
		refused(&m, 1, 1, -EBADMSG, "makes no sense");
	}
}

static void links(void **state)
{
	const struct member outside[] = { { "/tmp/crcore-unit-x", '1', "/etc/passwd" } };
	const struct member later[] = { { "/tmp/crcore-unit-x", '1', "/tmp/crcore-unit-y" },
		{ "/tmp/crcore-unit-y", '0' } };
	const struct member itself[] = { { "/tmp/crcore-unit-x", '1', "/tmp/crcore-unit-x" } };
	const struct member folder[] = { { "/tmp/crcore-unit-d/", '5' },
		{ "/tmp/crcore-unit-x", '1', "/tmp/crcore-unit-d" } };

	refused(outside, 1, 1, -EBADMSG, "makes no sense");
	refused(later, 2, 2, -EBADMSG, "makes no sense");
	refused(itself, 1, 1, -EBADMSG, "makes no sense");
	refused(folder, 2, 2, -EBADMSG, "makes no sense");
}

static void numbers(void **state)
{
	const struct member twice[] = { { "/tmp/crcore-unit-x", '0' }, { "/tmp/crcore-unit-x", '0' } };
	const struct member below[] = { { "/tmp/crcore-unit-x", '0' },
		{ "/tmp/crcore-unit-x/y", '0' } };
	const struct member good[] = { { "/tmp/", '5' }, { "/tmp/crcore-unit-x", '0', NULL, 600 },
		{ "/tmp/crcore-unit-y", '1', "/tmp/crcore-unit-x" } };
	struct crcore_error err;

	refused(twice, 2, 2, -EEXIST, "two files");
	refused(below, 2, 2, -ENOENT, "cannot be made");
	refused(good, 3, 2, -EBADMSG, "3 entries instead of 2");
	assert_int_equal(check(good, 3, 3, &err), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths), cmocka_unit_test(links), cmocka_unit_test(numbers),
	};

	if (argc < 2)
		return 77;
	so = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
