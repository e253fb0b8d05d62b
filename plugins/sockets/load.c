/* SPDX-License-Identifier: Apache-2.0 */
/* Restore: records, and whether they make sense together. */
#include "sockets.h"

#define MAX_QUEUE (1u << 31)
#define MAX_BUFFER (1u << 31)

void made_free(struct made *m)
{
	close_fd(&m->fd);
	close_fd(&m->keep);
	close_fd(&m->other);
	sockets__unix__free_unpacked(m->rec, NULL);
	free(m);
}

static bool good_name(const ProtobufCBinaryData *name)
{
	return name->len <= NAME_MAX_LEN &&
	       (!name->len || !name->data[0] || !memchr(name->data, 0, name->len));
}

static bool sane(const Sockets__Unix *rec)
{
	bool stream = stream_like(rec->type);
	uint64_t bytes = 0;

	for (size_t i = 0; i < rec->n_queue; i++) {
		bytes += rec->queue[i]->length;
		if (!good_name(&rec->queue[i]->from) || rec->queue[i]->n_objects > MAX_FDS)
			return false;
	}
	for (size_t i = 0; i < rec->n_options; i++)
		if (rec->options[i]->value.len > 64)
			return false;
	if (!rec->id || (!stream && rec->type != SOCK_DGRAM) || !good_name(&rec->name) ||
	    !good_name(&rec->peer_name) || !S_ISSOCK(rec->mode) || rec->shutdown > 3 ||
	    rec->holder > INT_MAX || rec->blob > INT64_MAX || bytes > MAX_QUEUE ||
	    rec->send_buffer >= MAX_BUFFER || rec->receive_buffer >= MAX_BUFFER)
		return false;
	if (rec->dir[0] && (rec->dir[0] != '/' || !rec->name.len || rec->name.data[0] == '/'))
		return false;
	switch (rec->state) {
	case SOCKETS__STATE__UNCONNECTED:
		return !rec->peer && (!stream || !rec->n_queue);
	case SOCKETS__STATE__LISTENING:
		return stream && !rec->peer && !rec->n_queue;
	case SOCKETS__STATE__CONNECTED:
		return rec->peer;
	case SOCKETS__STATE__WAITING:
		return stream && rec->peer && !rec->n_queue;
	case SOCKETS__STATE__GONE:
		return !rec->peer;
	case SOCKETS__STATE__RECONNECT:
		return rec->peer_name.len && (!stream || !rec->n_queue);
	case SOCKETS__STATE__INHERIT:
		return !rec->peer && !rec->n_queue && rec->label[0];
	default:
		return false;
	}
}

int sockets_load_record(void *state, const char *section, uint32_t version, const void *msg,
                        size_t len, struct crcore_error *err)
{
	struct sockets *s = state;
	struct made *m = net_load(&s->made, &s->nmade, sizeof(*m), &sockets__unix__descriptor, msg, len,
	                          err);

	if (!m)
		return err->code;
	m->fd = m->keep = m->other = -1;
	m->s = s;
	return sane(m->rec) ? 0 : crcore_fail(err, -EBADMSG, "the record of socket %u makes no sense",
	                                      m->rec->id);
}

struct made *sockets_made(const struct sockets *s, uint32_t id)
{
	return net_find(s->made, s->nmade, id);
}

static bool fits(const struct made *m)
{
	const Sockets__Unix *a = m->rec, *b = m->peer ? m->peer->rec : NULL;

	if (!a->peer)
		return true;
	if (!b || a->type != b->type)
		return false;
	if (a->state == SOCKETS__STATE__WAITING)
		return b->state == SOCKETS__STATE__LISTENING;
	if (stream_like(a->type))
		return a != b && b->state == SOCKETS__STATE__CONNECTED && b->peer == a->id;
	return b->name.len || (b->state == SOCKETS__STATE__CONNECTED && b->peer == a->id && a != b);
}

static int check_queue(struct sockets *s, struct made *m, struct crcore_error *err)
{
	uint64_t end = m->rec->blob;
	struct stat st = { 0 };
	int blob;

	for (size_t i = 0; i < m->rec->n_queue; i++) {
		end += m->rec->queue[i]->length;
		s->late |= m->rec->queue[i]->has_cred || m->rec->queue[i]->n_objects;
	}
	if (end == m->rec->blob)
		return 0;
	blob = s->host->blob(s->ctx, "unix", err);
	if (blob < 0)
		return blob;
	if (fstat(blob, &st) < 0 || end > (uint64_t)st.st_size)
		return crcore_fail(err, -EBADMSG, "the bytes in a socket are cut off in the image");
	return 0;
}

int sockets_check(void *state, struct crcore_error *err)
{
	struct sockets *s = state;
	bool files = false;
	int r = net_sort(s->made, s->nmade, err);

	for (unsigned i = 0; !r && i < s->nmade; i++) {
		const Sockets__Unix *rec = s->made[i]->rec;
		s->made[i]->peer = rec->peer ? sockets_made(s, rec->peer) : NULL;
		files |= rec->name.len && rec->name.data[0];
	}
	if (!r && files)
		r = graph_take(&s->graph, err);
	for (unsigned i = 0; !r && i < s->nmade; i++) {
		if (!fits(s->made[i]))
			return crcore_fail(err, -EBADMSG, "the records of socket %u and of its peer do not "
			                   "match", s->made[i]->rec->id);
		r = check_queue(s, s->made[i], err);
		if (!r)
			r = inherit_check(s->made[i], err);
		if (!r && s->made[i]->rec->state != SOCKETS__STATE__INHERIT)
			r = name_check(s->made[i], err);
	}
	return r;
}
