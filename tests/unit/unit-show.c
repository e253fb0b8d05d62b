/* SPDX-License-Identifier: Apache-2.0 */
/* `crcore show`: a person finds what they look for, a program gets JSON, nobody sees contents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "core/cli/show.h"
#include "core/util/text.h"
#include "core/util/util.h"
#include "tests/lib/sample-image.h"
#include "tests/unit/folder.h"

static char *text;

static int make_image(void **state)
{
	if (folder_begin(state))
		return -1;
	folder_sample();
	return 0;
}

static int drop_image(void **state)
{
	free(text);
	return folder_end(state);
}

static void show(bool json)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	size_t len;
	FILE *f;

	free(text);
	text = NULL;
	f = open_memstream(&text, &len);
	if (show_image(folder, json, f, &err))
		fail_msg("%s: %s", err.object, err.message);
	fclose(f);
	assert_null(memmem(text, len, SAMPLE_SECRET, sizeof(SAMPLE_SECRET) - 1));
}

static void has(const char *part)
{
	if (!strstr(text, part))
		fail_msg("not in the output: %s\n%s", part, text);
}

static void test_text(void **state)
{
	show(false);
	has("4 processes, 4 threads, 3 address spaces\n");
	has("kernel 6.18.0, x86_64");
	has("plugin sample 1.0: thing: 1 record");
	has("\n1000 sample: /usr/bin/sample --flag 'two words'\n");
	has("\n|- 1002 child: ");
	has("\n|    `- 1004 grandchild: ");
	has("\n`- 1003 gone\n");
	has("zombie, exit status 7");
	has("stopped by SIGTSTP");
	has("2 threads: 1000 sample, 1001 worker \"1\"");
	has("memory: 40 KiB mapped in 4 pieces, 12 KiB stored, part of it used by 2 others");
	has("12 KiB shared with 1000");
	has(", 4 KiB zero, ");
	has("descriptors: the same as 1000");
	has("  900  sample   /dev/null  (object 20, close on exec)");
	has("in /home/\\xff\"odd\"\\n, umask 022");
}

static void test_json(void **state)
{
	char path[96];

	show(true);
	has("\"two words\"");
	has("/home/\\ufffd\\\"odd\\\"\\n");
	has("\"state\": \"ZOMBIE\"");
	has("\"stored_bytes\": 12288");
	/* Another's reader takes it. */
	snprintf(path, sizeof(path), "python3 -c 'import json,sys; d = json.load(sys.stdin); "
	         "exit(len(d[\"tasks\"]))'");
	FILE *p = popen(path, "w");
	assert_non_null(p);
	fputs(text, p);
	assert_int_equal(pclose(p), 4 << 8);
}

static void test_sizes(void **state)
{
	char s[SIZE_TEXT_MAX];

	assert_string_equal(size_text(0, s), "0");
	assert_string_equal(size_text(512, s), "512 bytes");
	assert_string_equal(size_text(1024, s), "1 KiB");
	assert_string_equal(size_text(1536, s), "1.5 KiB");
	assert_string_equal(size_text(40960, s), "40 KiB");
	assert_string_equal(size_text(1048575, s), "1023 KiB");
	assert_string_equal(size_text(64ull << 30, s), "64 GiB");
	assert_string_equal(size_text(UINT64_MAX, s), "15 EiB");
}

static void test_refused(void **state)
{
	struct crcore_error err = CRCORE_ERROR_INIT;

	assert_int_equal(show_image(folder_top, false, stdout, &err), -ENOENT);
	assert_non_null(strstr(err.message, "no image in this folder"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, make_image, drop_image);
}
