/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer: well formed whatever the strings hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "core/util/json.h"

static char *text;
static size_t text_len;

static FILE *start(void)
{
	free(text);
	text = NULL;
	return open_memstream(&text, &text_len);
}

static void test_nesting(void **state)
{
	struct json j = JSON_INIT(start());

	json_object(&j, NULL);
	json_string(&j, "a", "x");
	json_array(&j, "b");
	json_int(&j, NULL, -7);
	json_uint(&j, NULL, UINT64_MAX);
	json_object(&j, NULL);
	json_end(&j);
	json_end(&j);
	json_array(&j, "c");
	json_end(&j);
	json_hex(&j, "d", 0x7f00);
	json_bool(&j, "e", true);
	json_null(&j, "f");
	json_string(&j, "g", NULL);
	json_end(&j);
	fclose(j.f);
	assert_string_equal(text,
		"{\n  \"a\": \"x\",\n  \"b\": [\n    -7,\n    18446744073709551615,\n    {}\n  ],\n"
		"  \"c\": [],\n  \"d\": \"0x7f00\",\n  \"e\": true,\n  \"f\": null,\n  \"g\": null\n}\n");
}

static void check_string(const char *in, size_t len, const char *out)
{
	struct json j = JSON_INIT(start());

	json_array(&j, NULL);
	json_string_len(&j, NULL, in, len);
	json_end(&j);
	fclose(j.f);
	text[strlen(text) - 3] = 0; /* the end of the array */
	assert_string_equal(text + 4, out);
}

static void test_strings(void **state)
{
	check_string("a\"b\\c/", 6, "\"a\\\"b\\\\c/\"");
	check_string("\n\t\r\x01\x7f", 5, "\"\\n\\t\\u000d\\u0001\\u007f\"");
	check_string("nul\0in", 6, "\"nul\\u0000in\"");
	check_string("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\xb2", 15,
	             "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\xb2\"");
	/* Not UTF-8: a stray byte, cut short, overlong, a surrogate, past the end of Unicode. */
	check_string("\xff", 1, "\"\\ufffd\"");
	check_string("\xe2\x82", 2, "\"\\ufffd\\ufffd\"");
	check_string("\xc0\xaf", 2, "\"\\ufffd\\ufffd\"");
	check_string("\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\"");
	check_string("\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
}

static int done(void **state)
{
	free(text);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_strings),
	};

	return cmocka_run_group_tests(tests, NULL, done);
}
