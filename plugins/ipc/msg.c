/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Message queues: what waits in them is read with MSG_COPY, which takes nothing
 * away. On restore messages are sent by who sent last, and if anybody received,
 * a message of that moment is received by who received last.
 */
#include "ipc.h"

#include <sys/mman.h>

struct buffer { long type; char text[]; };

static int put_message(struct ipc *s, int id, const struct buffer *b, size_t len,
                       struct crcore_error *err)
{
	Ipc__Message m = IPC__MESSAGE__INIT;

	m.type = b->type;
	m.text.data = (uint8_t *)(uintptr_t)b->text;
	m.text.len = len;
	m.queue = (uint32_t)id;
	return record_put(s->host, s->ctx, "message", &m.base, err);
}

static uint64_t longest(void)
{
	char text[32];

	return ipc_sysctl_read("kernel/msgmax", text, sizeof(text)) ? strtoull(text, NULL, 10) : 8192;
}

static int save_messages(struct ipc *s, int id, struct crcore_error *err)
{
	uint64_t max = longest();
	cleanup_free struct buffer *b = malloc(sizeof(*b) + max);
	int r = 0;

	if (!b)
		return crcore_no_memory(err);
	for (long i = 0; r == 0; i++) {
		ssize_t n = msgrcv(id, b, max, i, IPC_NOWAIT | MSG_COPY);
		if (n < 0 && errno == ENOMSG)
			break;
		if (n < 0) {
			crcore_advise(err, errno == ENOSYS ? "needs a kernel with CONFIG_CHECKPOINT_RESTORE" :
			              "raise kernel.msgmax");
			return crcore_fail(err, -errno, "message %ld cannot be read: %s", i, strerror(errno));
		}
		r = put_message(s, id, b, (size_t)n, err);
	}
	return r;
}

static int save_one(struct ipc *s, const struct used *u, struct crcore_error *err)
{
	Ipc__Msg rec = IPC__MSG__INIT;
	Ipc__Perm perm = IPC__PERM__INIT;

	perm_fill(&perm, &u->e, u->kept);
	rec.perm = &perm;
	rec.max_bytes = u->e.size;
	rec.lspid = (uint32_t)u->e.pids[0];
	rec.lrpid = (uint32_t)u->e.pids[1];
	int r = record_put(s->host, s->ctx, "msg", &rec.base, err);
	if (r == 0 && !u->kept)
		r = save_messages(s, u->e.id, err);
	if (r < 0)
		crcore_fail_at(err, -1, -1, "System V msg %d", u->e.id);
	return r;
}

int msg_save(struct ipc *s, struct crcore_error *err)
{
	struct used *v;
	unsigned n;
	int r = scope_list(s, MSG, &v, &n, err);

	for (unsigned i = 0; r == 0 && i < n; i++)
		r = save_one(s, &v[i], err);
	free(v);
	return r;
}

/* ---- restore ---- */

static int send_one(int id, int64_t type, const void *text, size_t len)
{
	struct buffer *b = malloc(sizeof(*b) + len);

	if (!b)
		return -ENOMEM;
	b->type = (long)type;
	if (len)
		memcpy(b->text, text, len);
	int r = msgsnd(id, b, len, IPC_NOWAIT) < 0 ? -errno : 0;
	free(b);
	return r;
}

static int send_probe(void *arg)
{
	const struct msg *m = arg;

	return send_one((int)m->rec->perm->id, 1, NULL, 0);
}

static int take_probe(void *arg)
{
	const struct msg *m = arg;
	struct buffer b;

	return msgrcv((int)m->rec->perm->id, &b, 0, 0, IPC_NOWAIT) < 0 ? -errno : 0;
}

static int send_all(void *arg)
{
	const struct msg *m = arg;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < m->n; i++)
		r = send_one((int)m->rec->perm->id, m->v[i]->type, m->v[i]->text.data, m->v[i]->text.len);
	return r;
}

static int set_limit(struct msg *m, uint64_t bytes, struct crcore_error *err)
{
	struct msqid_ds ds;
	int id = (int)m->rec->perm->id;

	if (msgctl(id, IPC_STAT, &ds) == 0) {
		ds.msg_qbytes = bytes;
		if (msgctl(id, IPC_SET, &ds) == 0)
			return 0;
	}
	return item_fail(&m->item, -errno, "its limit of bytes cannot be set", err);
}

/* What it takes to send the messages, and what the queue had as its limit. */
static int make_room(struct ipc *s, const struct msg *m, uint64_t *ret_bytes,
                     struct crcore_error *err)
{
	uint64_t sum = m->n + 1, most = 0;

	for (unsigned i = 0; i < m->n; i++) {
		sum += m->v[i]->text.len;
		most = m->v[i]->text.len > most ? m->v[i]->text.len : most;
	}
	*ret_bytes = sum > m->rec->max_bytes ? sum : m->rec->max_bytes;
	int r = limit_raise(s, "kernel/msgmnb", *ret_bytes, err);
	return r < 0 ? r : limit_raise(s, "kernel/msgmax", most, err);
}

int msg_make(struct ipc *s, struct msg *m, struct crcore_error *err)
{
	const Ipc__Msg *rec = m->rec;
	uint64_t bytes;
	int r = make_room(s, m, &bytes, err);

	if (r < 0 || (r = item_make(s, &m->item, 0, 0, 0, err)) < 0 ||
	    (r = set_limit(m, bytes, err)) < 0)
		return r;
	if (rec->lrpid || (rec->lspid && !m->n)) {
		r = ipc_run_as(s, (pid_t)rec->lspid, send_probe, m, err);
		if (r == 0)
			r = rec->lrpid ? ipc_run_as(s, (pid_t)rec->lrpid, take_probe, m, err) : take_probe(m);
	}
	if (r == 0 && m->n)
		r = rec->lspid ? ipc_run_as(s, (pid_t)rec->lspid, send_all, m, err) : send_all(m);
	if (r < 0)
		return item_fail(&m->item, r, "its messages cannot be sent", err);
	if (bytes != rec->max_bytes && (r = set_limit(m, rec->max_bytes, err)) < 0)
		return r;
	return item_dress(&m->item, err);
}
