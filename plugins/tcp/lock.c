/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network lock: while a connection is in nobody's hands, no packet of it may
 * come in, or the kernel would answer it with a reset. (So for those who want to
 * connect, if the policy says so.) One table of nftables with a set of the
 * connections, put up and taken down in one transaction each.
 *
 * While crcore works the table belongs to its netlink socket (flags owner): the
 * kernel takes it away with the process, whatever ends that. Only when the tree
 * is gone and its image complete is there one that stays, until the restore.
 *
 * Where nftables is missing, block.c does it.
 *
 * libnftables is looked for when it is needed: most trees need no lock, and it
 * takes longer to load than a small tree to be saved.
 */
#include "plugins/tcp/block.h"
#include "plugins/tcp/tcp.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdio.h>
#include <sys/random.h>

struct nft_ctx;
struct nft {
	void *lib;
	struct nft_ctx *(*ctx_new)(uint32_t);
	void (*ctx_free)(struct nft_ctx *);
	int (*buffer_output)(struct nft_ctx *);
	int (*buffer_error)(struct nft_ctx *);
	const char *(*error_buffer)(struct nft_ctx *);
	int (*run)(struct nft_ctx *, const char *);
};

struct lock {
	struct nft nft;
	struct nft_ctx *owner; /* the table goes when this goes */
	bool no_nft;           /* block.c does it */
	struct block *block;
	char name[LOCK_NAME];  /* of what stays: the table, or the programs */
	bool ready;            /* lock_drop() will be called */
	bool other;            /* the one that is up has the other name */
};

#define LOAD(n, field, symbol) \
	((n)->field = (__typeof__((n)->field))(uintptr_t)dlsym((n)->lib, symbol))

static int load(struct nft *n, struct crcore_error *err)
{
	if (n->lib)
		return 0;
	n->lib = dlopen("libnftables.so.1", RTLD_NOW | RTLD_LOCAL);
	if (n->lib && LOAD(n, ctx_new, "nft_ctx_new") && LOAD(n, ctx_free, "nft_ctx_free") &&
	    LOAD(n, buffer_output, "nft_ctx_buffer_output") &&
	    LOAD(n, buffer_error, "nft_ctx_buffer_error") &&
	    LOAD(n, error_buffer, "nft_ctx_get_error_buffer") &&
	    LOAD(n, run, "nft_run_cmd_from_buffer"))
		return 0;
	crcore_advise(err, "install libnftables (Debian: libnftables1), or have the connection closed");
	return crcore_fail(err, -ENOTSUP, "connections to outside the tree need the network lock, and "
	                   "nftables cannot be used: %s", dlerror());
}

static void set_name(struct lock *l)
{
	uint64_t number = 0;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		l->name[0] = '\0';
	else if (l->no_nft)
		snprintf(l->name, sizeof(l->name), "crcore_%08x", (unsigned)number);
	else
		snprintf(l->name, sizeof(l->name), "crcore-%016llx", (unsigned long long)number);
}

/* why: nftables cannot be used. Nothing else can hold back those who want to connect. */
static int do_without(struct tcp *t, const struct crcore_error *why, struct crcore_error *err)
{
	struct crcore_error unused = CRCORE_ERROR_INIT;

	if (t->hold_listening || block_possible(&unused) < 0) {
		*err = *why;
		return why->code;
	}
	t->lock->no_nft = true;
	set_name(t->lock);
	t->host->log(t->ctx, 2, "the network lock is made of programs at network devices: %s",
	             why->message);
	return 0;
}

static struct lock *get(struct tcp *t, struct crcore_error *err)
{
	struct crcore_error why = CRCORE_ERROR_INIT;

	if (!t->lock)
		t->lock = calloc(1, sizeof(*t->lock));
	if (!t->lock) {
		crcore_no_memory(err);
		return NULL;
	}
	if (!t->lock->no_nft && load(&t->lock->nft, &why) < 0 && do_without(t, &why, err) < 0)
		return NULL;
	if (!t->lock->name[0])
		set_name(t->lock);
	return t->lock;
}

int lock_possible(struct tcp *t, struct crcore_error *err) { return get(t, err) ? 0 : -ENOTSUP; }

const char *lock_name(const struct tcp *t)
{
	return t->lock && (t->lock->owner || t->lock->block) ? t->lock->name : NULL;
}

/* An image is not to be trusted: it must not name the table of somebody else. */
bool lock_is_name(const char *table)
{
	return ((!strncmp(table, "crcore-", 7) && strlen(table) == 23) ||
	        (!strncmp(table, "crcore_", 7) && strlen(table) == BLOCK_NAME - 1)) &&
	       strspn(table + 7, "0123456789abcdef") == strlen(table) - 7;
}

/* The library waits by select(2), which cannot take a large number: one was kept for it. */
static struct nft_ctx *new_ctx(struct tcp *t)
{
	const struct nft *n = &t->lock->nft;
	struct nft_ctx *ctx;

	close_fd(&t->low[t->low[0] < 0]);
	ctx = n->ctx_new(0);
	if (ctx) {
		n->buffer_output(ctx);
		n->buffer_error(ctx);
	}
	return ctx;
}

static int run(const struct nft *n, struct nft_ctx *ctx, const char *text, struct crcore_error *err)
{
	char why[200];

	if (n->run(ctx, text) == 0)
		return 0;
	snprintf(why, sizeof(why), "%s", n->error_buffer(ctx));
	why[strcspn(why, "\n")] = '\0';
	crcore_advise(err, "the kernel needs nf_tables (CONFIG_NF_TABLES_INET); or have the "
	              "connections closed");
	return crcore_fail(err, -EIO, "nftables does not take the network lock: %s", why);
}

/* -- the text of a table ------------------------------------------------------------------- */

static void put_end(FILE *f, const struct end *e, bool v4)
{
	char ip[INET6_ADDRSTRLEN];

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? end_v4(e) : e->ip, ip, sizeof(ip));
	fprintf(f, "%s . %u", ip, e->port);
}

static void put_set(FILE *f, const struct lock_list *l, bool v4)
{
	const char *comma = "";
	const char *type = v4 ? "ipv4_addr . inet_service . ipv4_addr . inet_service"
	                      : "ipv6_addr . inet_service . ipv6_addr . inet_service";

	fprintf(f, "set %s { type %s\n", v4 ? "v4" : "v6", type);
	for (unsigned i = 0; i < l->n; i++) {
		if (end_is_v4(&l->v[i].local) != v4 || !l->v[i].remote.port)
			continue;
		fputs(*comma ? comma : "elements = { ", f);
		put_end(f, &l->v[i].local, v4);
		fputs(" . ", f);
		put_end(f, &l->v[i].remote, v4);
		comma = ",\n";
	}
	fprintf(f, "%s}\n", *comma ? "}\n" : "");
}

/* Whether connections of this family come in there. */
static bool listens(const struct locked *at, bool v4, bool any)
{
	if (at->remote.port || end_any(&at->local) != any)
		return false;
	return end_is_v4(&at->local) == v4 || (any && v4 && !at->v6only);
}

static unsigned put_listening(FILE *f, const struct lock_list *l, bool v4, bool any)
{
	const char *ip = v4 ? "ipv4" : "ipv6", *type = any ? "inet_service" : "_addr . inet_service";
	unsigned n = 0;

	fprintf(f, "set %s%c { type %s%s\n", any ? "any" : "at", v4 ? '4' : '6', any ? "" : ip, type);
	for (unsigned i = 0; i < l->n; i++) {
		if (!listens(&l->v[i], v4, any))
			continue;
		fputs(n++ ? ",\n" : "elements = { ", f);
		if (any)
			fprintf(f, "%u", l->v[i].local.port);
		else
			put_end(f, &l->v[i].local, v4);
	}
	fprintf(f, "%s}\n", n ? "}\n" : "");
	return n;
}

/* Who wants to connect is not answered, and tries again. */
static void put_wait(FILE *f, const struct lock_list *l)
{
	unsigned n = 0;

	for (int i = 0; i < 4; i++)
		n += put_listening(f, l, i & 1, i & 2);
	if (n)
		fprintf(f, "chain connect { type filter hook input priority -300; policy accept;\n"
		        "meta mark %#x accept\n"
		        "tcp flags & (fin | syn | rst | ack) != syn accept\n"
		        "ip daddr . tcp dport @at4 drop\nip6 daddr . tcp dport @at6 drop\n"
		        "meta nfproto ipv4 tcp dport @any4 drop\n"
		        "meta nfproto ipv6 tcp dport @any6 drop\n}\n", LOCK_MARK);
}

static void put_chain(FILE *f, bool in)
{
	fprintf(f, "chain %s { type filter hook %s priority -300; policy accept;\n"
	        "meta mark %#x accept\n", in ? "in" : "out", in ? "input" : "output", LOCK_MARK);
	for (int v4 = 1; v4 >= 0; v4--) {
		const char *ip = v4 ? "ip" : "ip6";
		fprintf(f, in ? "%s daddr . tcp dport . %s saddr . tcp sport @%s drop\n"
		              : "%s saddr . tcp sport . %s daddr . tcp dport @%s drop\n",
		        ip, ip, v4 ? "v4" : "v6");
	}
	fputs("}\n", f);
}

static char *table_text(const char *name, const char *suffix, const struct lock_list *l, bool owned)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	fprintf(f, "table inet %s%s {\n%s", name, suffix, owned ? "flags owner\n" : "");
	put_set(f, l, true);
	put_set(f, l, false);
	put_chain(f, true);
	put_chain(f, false);
	put_wait(f, l);
	fputs("}\n", f);
	return fclose(f) == 0 ? text : NULL;
}

/* -- up and down ----------------------------------------------------------------------------- */

/* Undo entry, and the end of a lock that is only held meanwhile. */
void lock_drop(void *state)
{
	struct tcp *t = state;

	if (t->lock && t->lock->owner)
		t->lock->nft.ctx_free(t->lock->owner);
	if (t->lock) {
		t->lock->owner = NULL;
		block_free(t->lock->block);
		t->lock->block = NULL;
	}
}

int lock_ready(struct tcp *t, struct crcore_error *err)
{
	struct lock *lock = get(t, err);
	int r;

	if (!lock || lock->ready)
		return lock ? 0 : -ENOTSUP;
	r = t->host->undo(t->ctx, lock_drop, t, true, err);
	lock->ready = !r;
	return r;
}

static int take_block(struct lock *lock, const struct lock_list *l, struct crcore_error *err)
{
	struct block *old = lock->block;
	int r = block_take(l, &lock->block, err);

	if (!r)
		block_free(old);
	return r;
}

int lock_take(struct tcp *t, const struct lock_list *l, struct crcore_error *err)
{
	struct crcore_error why = CRCORE_ERROR_INIT;
	cleanup_free char *text = NULL;
	int r = l->n ? lock_ready(t, err) : 0;
	struct lock *lock = t->lock;
	struct nft_ctx *ctx;

	if (!l->n || r < 0)
		return r;
	if (lock->no_nft)
		return take_block(lock, l, err);
	text = table_text(lock->name, lock->other ? "-next" : "-now", l, true);
	if (!text)
		return crcore_no_memory(err);
	ctx = new_ctx(t);
	if (!ctx)
		return crcore_fail(err, -EIO, "nftables cannot be used");
	if (run(&lock->nft, ctx, text, &why) == 0) {
		if (lock->owner) {
			lock->nft.ctx_free(lock->owner);
			t->low[0] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* the number that it had */
		}
		lock->owner = ctx;
		lock->other = !lock->other;
		return 0;
	}
	lock->nft.ctx_free(ctx);
	r = lock->owner ? why.code : do_without(t, &why, err);
	if (r < 0 && lock->owner)
		*err = why;
	return r < 0 ? r : take_block(lock, l, err);
}

int lock_stay(struct tcp *t, const struct lock_list *l, struct crcore_error *err)
{
	struct lock *lock = t->lock;
	cleanup_free char *text = NULL;
	struct nft_ctx *ctx;
	int r;

	if (lock && lock->block)
		return block_stay(l, lock->name, err);
	if (!lock || !lock->owner)
		return 0;
	text = table_text(lock->name, "", l, false);
	ctx = text ? new_ctx(t) : NULL;
	if (!ctx)
		return crcore_no_memory(err);
	r = run(&lock->nft, ctx, text, err);
	lock->nft.ctx_free(ctx);
	return r;
}

/* The table of a dump; gone already: all is well. */
int lock_remove(struct tcp *t, const char *name, struct crcore_error *err)
{
	struct lock *lock;
	char text[3 * LOCK_NAME + 100];
	struct nft_ctx *ctx;
	int r;

	if (name[6] == '_') {
		block_remove(name);
		return 0;
	}
	lock = get(t, err);
	if (lock && lock->no_nft) {
		crcore_advise(err, "install libnftables (Debian: libnftables1)");
		return crcore_fail(err, -ENOTSUP, "the network lock of the dump is a table of nftables");
	}
	if (!lock)
		return -ENOTSUP;
	ctx = new_ctx(t);
	if (!ctx)
		return crcore_no_memory(err);
	snprintf(text, sizeof(text), "add table inet %s; delete table inet %s", name, name);
	r = run(&lock->nft, ctx, text, err);
	lock->nft.ctx_free(ctx);
	return r;
}

void lock_free(struct tcp *t)
{
	lock_drop(t);
	if (t->lock && t->lock->nft.lib)
		dlclose(t->lock->nft.lib);
	free(t->lock);
	t->lock = NULL;
}
