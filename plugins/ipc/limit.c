/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of an IPC namespace of the tree's own: saved and set. Others are only
 * raised for the time of a restore, where what is to be made was made when they
 * were higher, or by somebody with more rights.
 */
#include "ipc.h"

static const char *const names[] = {
	"kernel/shmmax", "kernel/shmall", "kernel/shmmni", "kernel/msgmax", "kernel/msgmnb",
	"kernel/msgmni", "kernel/sem", "fs/mqueue/queues_max", "fs/mqueue/msg_max",
	"fs/mqueue/msgsize_max", "fs/mqueue/msg_default", "fs/mqueue/msgsize_default",
	"kernel/shm_rmid_forced", /* last: it removes what nobody has attached */
};
#define COUNT (sizeof(names) / sizeof(names[0]))

int limit_save(struct ipc *s, struct crcore_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < COUNT && scope_all(s); i++) {
		Ipc__Limit rec = IPC__LIMIT__INIT;
		char value[128];
		if (!ipc_sysctl_read(names[i], value, sizeof(value)))
			continue;
		rec.name = (char *)(uintptr_t)names[i];
		rec.value = value;
		r = record_put(s->host, s->ctx, "limit", &rec.base, err);
	}
	return r;
}

const char *limit_known(const char *name)
{
	for (size_t i = 0; i < COUNT; i++)
		if (!strcmp(names[i], name))
			return names[i];
	return NULL;
}

static void put_back(void *arg)
{
	struct limit *l = arg;

	if (l->before)
		ipc_sysctl_write(limit_known(l->rec->name), l->before);
}

static int set_one(struct ipc *s, struct limit *l, struct crcore_error *err)
{
	const char *name = limit_known(l->rec->name);
	char value[128];

	if (!ipc_sysctl_read(name, value, sizeof(value)) || !strcmp(value, l->rec->value))
		return 0;
	int r = s->host->undo(s->ctx, put_back, l, false, err);
	if (r < 0 || (r = will_limit(s, name, value, err)) < 0)
		return r;
	l->before = strdup(value);
	r = l->before ? ipc_sysctl_write(name, l->rec->value) : -ENOMEM;
	if (r < 0) {
		crcore_fail_at(err, -1, -1, "/proc/sys/%s", name);
		return crcore_fail(err, r, "cannot be set to \"%.60s\": %s", l->rec->value, strerror(-r));
	}
	return 0;
}

int limit_set(struct ipc *s, bool late, struct crcore_error *err)
{
	int r = 0;

	if (s->nlimit && scope_initial()) {
		s->host->log(s->ctx, 2, "the limits of the machine's IPC namespace stay as they are");
		return 0;
	}
	for (unsigned i = 0; r == 0 && i < s->nlimit; i++)
		if (!strcmp(s->limit[i].rec->name, "kernel/shm_rmid_forced") == late)
			r = set_one(s, &s->limit[i], err);
	return r;
}

/* ---- for a while ---- */

struct raised { const char *name; char before[32]; };

static void lower(void *arg)
{
	struct raised *r = arg;

	ipc_sysctl_write(r->name, r->before);
	free(r);
}

int limit_raise(struct ipc *s, const char *name, uint64_t least, struct crcore_error *err)
{
	struct raised *u;
	char value[32];
	int r;

	if (!ipc_sysctl_read(name, value, sizeof(value)) || strtoull(value, NULL, 10) >= least)
		return 0;
	if (!(u = calloc(1, sizeof(*u))))
		return crcore_no_memory(err);
	u->name = name;
	snprintf(u->before, sizeof(u->before), "%s", value);
	if ((r = s->host->undo(s->ctx, lower, u, true, err)) < 0) {
		free(u);
		return r;
	}
	if ((r = will_limit(s, name, u->before, err)) < 0)
		return r;
	snprintf(value, sizeof(value), "%llu", (unsigned long long)least);
	if ((r = ipc_sysctl_write(name, value)) < 0) {
		crcore_fail_at(err, -1, -1, "/proc/sys/%s", name);
		return crcore_fail(err, r, "cannot be raised to %s: %s", value, strerror(-r));
	}
	return 0;
}

void limit_free(struct ipc *s)
{
	for (unsigned i = 0; i < s->nlimit; i++) {
		ipc__limit__free_unpacked(s->limit[i].rec, NULL);
		free(s->limit[i].before);
	}
	free(s->limit);
}
