/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the bytes of a policy, which for a restore come from the image.
 * Whatever is accepted is used the way the host and the manifest use it, and
 * printed, and what was printed must load and print the same again. A refusal
 * must say something and must have changed nothing.
 */
#include "core/policy/policy.h"
#include "core/util/util.h"
#include "tests/fuzz/fuzz.h"

static const char *const choices[] = { "refuse", "accept", "grew", NULL };
static const struct crcore_option options[] = {
	{ "ghost-limit", CRCORE_SIZE, "64MiB", NULL, 0, 0, "" },
	{ "changed-file", CRCORE_CHOICE, "refuse", choices, 0, 0, "" },
	{ "external", CRCORE_MAP, "{ a: b }", NULL, 0, 0, "" },
	{ "include", CRCORE_LIST, NULL, NULL, 0, 0, "" },
	{ "wait", CRCORE_SECONDS, "1s", NULL, 1, 1000000000000, "" },
	{ "depth", CRCORE_INT, "1", NULL, -3, 3, "" },
	{ "deep", CRCORE_BOOL, "no", NULL, 0, 0, "" },
	{ "word", CRCORE_STRING, NULL, NULL, 0, 0, "" },
	{ NULL },
};

static void said_why(const struct crcore_error *err)
{
	if (!err->code || !err->message[0] || !err->object[0])
		abort();
}

static int on_order(void *arg, const char *stage, const char *plugin, bool before,
                    const char *other, const struct node *where)
{
	*(size_t *)arg += strlen(stage) + strlen(plugin) + strlen(other) + before;
	return where->origin ? 0 : -EINVAL;
}

static void use(struct policy *p)
{
	struct crcore_value values[ARRAY_SIZE(options)];
	size_t sum = 0;
	const char *name;

	if (policy_order(p, on_order, &sum) < 0)
		abort();
	for (unsigned i = 0; (name = policy_plugin(p, i)); i++) {
		struct crcore_error err = CRCORE_ERROR_INIT;
		if (!policy_plugin_node(p, name))
			abort();
		if (policy_options(p, name, options, values, &err) < 0) {
			said_why(&err);
			continue;
		}
		for (const char *const *s = values[2].list; *s; s += 2)
			sum += strlen(s[0]) + strlen(s[1]);
		for (const char *const *s = values[3].list; *s; s++)
			sum += strlen(*s);
		sum += strlen(values[7].s);
	}
	if (policy_core(p, "dump.leave")->i > 2)
		abort();
}

static char *text_of(const struct policy *p)
{
	size_t len;
	char *text = policy_text(p, &len);

	if (!text || strlen(text) != len)
		abort();
	return text;
}

static void print_all(const struct policy *p)
{
	for (int json = 0; json < 2; json++) {
		cleanup_free char *text = NULL;
		size_t len;
		FILE *f = open_memstream(&text, &len);
		if (!f || policy_print(p, f, json) < 0 || fclose(f))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct policy *p = policy_new();
	cleanup_free char *before = text_of(p), *after = NULL, *again = NULL;

	if (policy_load_bytes(p, "fuzz", data, len, &err) < 0) {
		said_why(&err);
		after = text_of(p);
		if (strcmp(before, after))
			abort();
		policy_free(p);
		return 0;
	}
	after = text_of(p);
	struct policy *q = policy_new();
	/* Block style takes more room than what was read may have. */
	if (policy_load_bytes(q, "again", after, strlen(after), &err) < 0 && err.code != -E2BIG)
		abort();
	again = text_of(q);
	if (err.code != -E2BIG && strcmp(after, again))
		abort();
	use(p);
	print_all(p);
	policy_free(q);
	policy_free(p);
	return 0;
}

static const char *const seeds[] = {
	"version: 1\nname: web-worker\nplugins:\n"
	"  files:   { ghost-limit: 64MiB, changed-file: refuse, wait: 250ms, depth: -2 }\n"
	"  sockets: { external: { \"/run/systemd/*\": reconnect } }\n"
	"  tmpfiles: { include: [ /var/cache/app/*.tmp, 'x y', \"a\\tb\\u00e9\" ], time-limit: 2s }\n"
	"  /opt/acme/libacme-fpga.so: { word: 2, deep: yes }\n"
	"order:\n  restore: [ { tmpfiles: { after: [ acme-fpga ] } } ]\n"
	"  dump: { files: { before: [ sockets ] } }\n",
	"version: 1\ndump:\n  leave: stopped\n  timeout: 2m\nrestore: { verify: off, pid-wait: 0 }\n",
	"version: 1\nplugins: &a { files: *a }\n? [ x ]\n: !!str y\n--- \n...\n",
	"{version: 1, name: |-\n  a\n  b\n, plugins: {a: , b: ~, c: {}, d: []}}",
	("version: 1\nname: >\n folded\n text\n\n"
	 "plugins:\n  a:\n    include:\n    - '- x'\n    - ~\n    - null\n"),
};

_Bool fuzz_seed(unsigned i, uint8_t **ret, size_t *ret_len)
{
	if (i >= ARRAY_SIZE(seeds))
		return 0;
	*ret_len = strlen(seeds[i]);
	*ret = malloc(*ret_len + 1);
	if (!*ret)
		return 0;
	memcpy(*ret, seeds[i], *ret_len);
	return 1;
}
