/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a connection whose other end is outside the tree: the first
 * pattern of the option `connections` that matches says it, otherwise the
 * option `established`. A pattern is made of words:
 *
 *   in, out              who began: the local port is one that the tree listens at, or not
 *   local  ADDRESS       ADDRESS[/BITS][:PORT], [ADDRESS/BITS]:PORT for IPv6, *:PORT
 *   remote ADDRESS
 *   *                    anything
 */
#include "plugins/tcp/tcp.h"

static const char *const words[] = { "keep", "close", "reset", "refuse" }; /* enum verdict */

static int parse_verdict(const char *word)
{
	for (int i = 0; i < 4; i++)
		if (!strcmp(word, words[i]))
			return i;
	return -1;
}

static bool parse_port(const char *text, uint16_t *ret)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	*ret = (uint16_t)port;
	return end != text && !*end && port > 0 && port < 65536;
}

static bool parse_pattern(char *text, struct pattern *p)
{
	char *port = NULL, *close = text[0] == '[' ? strchr(text, ']') : NULL;

	if (close) {
		if (close[1] && close[1] != ':')
			return false;
		port = close[1] ? close + 2 : NULL;
		*close = '\0';
		text++;
	} else if ((port = strchr(text, ':')) && !strchr(port + 1, ':')) {
		*port++ = '\0';
	} else {
		port = NULL;
	}
	p->any_ip = !strcmp(text, "*");
	if (!p->any_ip && !end_parse(text, &p->end, &p->bits))
		return false;
	return !port || parse_port(port, &p->end.port);
}

static bool parse_rule(char *text, struct rule *r)
{
	char *save = NULL;

	r->local.any_ip = r->remote.any_ip = true;
	for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		if (!strcmp(w, "in") || !strcmp(w, "out")) {
			r->way = w[0] == 'i' ? 1 : 2;
		} else if (!strcmp(w, "local") || !strcmp(w, "remote")) {
			struct pattern *p = w[0] == 'l' ? &r->local : &r->remote;
			char *what = strtok_r(NULL, " ", &save);
			if (!what || !parse_pattern(what, p))
				return false;
		} else if (strcmp(w, "*") != 0) {
			return false;
		}
	}
	return true;
}

int policy_parse(struct tcp *t, struct crcore_error *err)
{
	const char *const *list = t->host->option(t->ctx, "connections")->list;
	unsigned n = 0;

	t->established = (enum verdict)t->host->option(t->ctx, "established")->i;
	while (list && list[n])
		n += 2;
	t->rules = calloc(n / 2 + 1, sizeof(*t->rules));
	if (!t->rules)
		return crcore_no_memory(err);
	for (unsigned i = 0; i < n; i += 2) {
		struct rule *r = &t->rules[t->nrules];
		cleanup_free char *text = strdup(list[i]);
		int verdict = parse_verdict(list[i + 1]);
		if (!text)
			return crcore_no_memory(err);
		if (verdict < 0)
			return crcore_fail(err, -EINVAL, "connections: %s: \"%s\" is none of keep, close, "
			                   "reset, refuse", list[i], list[i + 1]);
		if (!parse_rule(text, r)) {
			crcore_advise(err, "write e.g. \"in local *:22\" or \"out remote 10.0.0.0/8:5432\"");
			return crcore_fail(err, -EINVAL, "connections: the pattern \"%s\" cannot be understood",
			                   list[i]);
		}
		r->verdict = (enum verdict)verdict;
		t->nrules++;
	}
	return 0;
}

static bool matches(const struct pattern *p, const struct end *e)
{
	return (p->any_ip || end_within(e, &p->end, p->bits)) &&
	       (!p->end.port || p->end.port == e->port);
}

enum verdict policy_find(const struct tcp *t, const struct end *local, const struct end *remote,
                         bool incoming)
{
	for (unsigned i = 0; i < t->nrules; i++) {
		const struct rule *r = &t->rules[i];
		if ((!r->way || (r->way == 1) == incoming) && matches(&r->local, local) &&
		    matches(&r->remote, remote))
			return r->verdict;
	}
	return t->established;
}
