/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll, dump: which file each registration is of, as the kernel has it. kcmp(2) would tell,
 * but looks through all that is registered for every question, so that 4,000 of them take a
 * second. The kernel's own tree of them is in the order in which fdinfo lists them.
 */
#include "events.h"

#include "plugins/bpf/peek.h"
#include "plugins/tasks.h"

#define DEEP 64 /* of a balanced tree */

/* Where members are. */
struct places {
	uint64_t private, root, left, right, node, file, number;
};

static int find_places(struct peek *p, struct places *at)
{
	const struct { const char *type, *path; uint64_t *ret; } wanted[] = {
		{ "file", "private_data", &at->private },
		{ "eventpoll", "rbr.rb_root.rb_node", &at->root },
		{ "rb_node", "rb_left", &at->left }, { "rb_node", "rb_right", &at->right },
		{ "epitem", "rbn", &at->node }, { "epitem", "ffd.file", &at->file },
		{ "epitem", "ffd.fd", &at->number },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(wanted) / sizeof(*wanted); i++)
		r = peek_at(p, 0, wanted[i].type, wanted[i].path, wanted[i].ret);
	return r;
}

static int read_one(struct peek *p, const struct places *at, uint64_t node, struct registered *ret)
{
	uint64_t item = node - at->node, number;
	int r = peek_word(p, item + at->file, &ret->file);

	if (r == 0 && (r = peek_word(p, item + at->number, &number)) == 0)
		ret->number = (uint32_t)number;
	return r;
}

/* In order. There must be n; if the tree changes meanwhile, whatever comes is wrong or an error. */
static int walk(struct peek *p, const struct places *at, uint64_t node, struct registered *ret,
                unsigned n)
{
	uint64_t above[DEEP];
	unsigned deep = 0, got = 0;
	int r = 0;

	while (r == 0 && (node || deep)) {
		if (node) {
			if (deep == DEEP)
				return -EAGAIN;
			above[deep++] = node;
			r = peek_word(p, node + at->left, &node);
			continue;
		}
		node = above[--deep];
		if (got == n)
			return -EAGAIN;
		if ((r = read_one(p, at, node, &ret[got++])) == 0)
			r = peek_word(p, node + at->right, &node);
	}
	return r == 0 && got < n ? -EAGAIN : r;
}

static struct peek *get_peek(struct events *e)
{
	struct crcore_error why = CRCORE_ERROR_INIT;

	if (!e->peek && !e->no_peek && peek_open(&e->peek, &why) < 0) {
		e->no_peek = true;
		e->host->log(e->ctx, 2, "an epoll with much in it takes long: %s", why.message);
	}
	return e->peek;
}

bool registered_read(struct events *e, const struct crcore_object *obj, struct registered *ret,
                     unsigned n)
{
	struct peek *p = get_peek(e);
	cleanup_close int fd = p ? task_fetch(e->host, e->ctx, obj->pid, obj->fd) : -1;
	uint64_t file, poll, root;
	struct places at;

	return fd >= 0 && find_places(p, &at) == 0 && peek_file(p, fd, &file) == 0 &&
	       peek_word(p, file + at.private, &poll) == 0 &&
	       peek_word(p, poll + at.root, &root) == 0 && walk(p, &at, root, ret, n) == 0;
}

uint64_t registered_file(struct events *e, pid_t pid, int fd)
{
	cleanup_close int own = task_fetch(e->host, e->ctx, pid, fd);
	uint64_t file;

	return own >= 0 && peek_file(e->peek, own, &file) == 0 ? file : 0;
}
