/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crcore plugin for /dev/kmsg, the kernel's log. A reader of it has a position,
 * the number of the record that it reads next, which no system call tells.
 * The example of docs/plugin-guide.md.
 */
#include <crcore/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { RECORD = 8193 }; /* bytes that a record takes at most */

struct reader { /* one open file description */
	struct reader *next;
	uint32_t id;      /* of the object */
	uint32_t flags;   /* of open(2) */
	uint64_t number;  /* of the record to be read next */
};

struct state { /* all that this plugin keeps */
	const struct crcore_host *host;
	struct crcore_ctx *ctx;
	struct reader *readers;
	int moved_fd;        /* a description moved from its place, -1: none ... */
	char passed[RECORD]; /* ... and what was read there, "": nothing yet */
};

static int kmsg_open(const struct crcore_host *host, struct crcore_ctx *ctx, void **ret_state,
                     struct crcore_error *err)
{
	struct state *s = calloc(1, sizeof(*s));

	if (!s)
		return crcore_fail(err, -ENOMEM, "out of memory");
	s->host = host;
	s->ctx = ctx;
	s->moved_fd = -1;
	*ret_state = s;
	return 0;
}

static void kmsg_close(void *state)
{
	struct state *s = state;

	while (s->readers) {
		struct reader *r = s->readers;
		s->readers = r->next;
		free(r);
	}
	free(s);
}

static int kmsg_claim(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	if (obj->class_ == CRCORE_DESCRIPTION && S_ISCHR(obj->st.st_mode) &&
	    obj->st.st_rdev == makedev(1, 11))
		return CRCORE_CLAIM_EXACT;
	return CRCORE_CLAIM_NONE;
}

static bool number_of(const char *text, uint64_t *ret)
{
	return sscanf(text, "%*u,%" SCNu64, ret) == 1; /* "6,339,5140900,-;..." */
}

/* Reads one record, to zeroes, and gives its number. -EAGAIN: there is none; never blocks. */
static int read_record(int fd, char text[RECORD], uint64_t *ret)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (;;) {
		if (poll(&p, 1, 0) < 1 || !(p.revents & POLLIN))
			return -EAGAIN;
		if (read(fd, text, RECORD - 1) >= 0)
			return number_of(text, ret) ? 0 : -EBADMSG;
		if (errno != EPIPE) /* EPIPE: it was overwritten; the next read works */
			return -errno;
	}
}

static int read_number(int fd, uint64_t *ret)
{
	char text[RECORD] = "";

	return read_record(fd, text, ret);
}

/* Moves a description to a record. *ret_lost: the record is gone, this is the oldest. */
static int go_to(int fd, uint64_t number, bool *ret_lost)
{
	uint64_t n;
	int rc;

	*ret_lost = false;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	do
		rc = read_number(fd, &n);
	while (rc == 0 && n + 1 < number);
	if (rc < 0 || n < number)
		return rc; /* -EAGAIN: the log ends before; 0: just read the one before it */
	*ret_lost = n > number;
	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0; /* it is the oldest: back to it */
}

/* The number that the next record of the log will have. */
static int next_number(uint64_t *ret)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	uint64_t n = 0;
	int rc = fd < 0 ? -errno : 0;
	bool any = false;

	while (rc == 0) {
		rc = read_number(fd, &n);
		any |= rc == 0;
	}
	if (fd >= 0)
		close(fd);
	*ret = any ? n + 1 : 0;
	return rc == -EAGAIN ? 0 : rc;
}

/* Undo entry: puts a description back that save_object moved. */
static void put_back(void *arg)
{
	struct state *s = arg;
	uint64_t number;
	bool lost;

	if (s->moved_fd < 0)
		return;
	if (number_of(s->passed, &number))
		go_to(s->moved_fd, number, &lost);
	close(s->moved_fd);
	s->moved_fd = -1;
}

/* Where a description is: reads the next record to see its number, and goes back. */
static int find_number(struct state *s, int fd, uint64_t *ret, struct crcore_error *err)
{
	bool lost;
	int rc = next_number(ret); /* before the look: what comes meanwhile is unread */

	if (rc < 0)
		return crcore_fail(err, rc, "cannot be read: %s", strerror(-rc));
	rc = s->host->undo(s->ctx, put_back, s, false, err);
	if (rc < 0)
		return rc;
	memset(s->passed, 0, sizeof(s->passed));
	s->moved_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (s->moved_fd < 0)
		return crcore_fail(err, -errno, "cannot be duplicated: %s", strerror(errno));
	uint64_t number;
	rc = read_record(fd, s->passed, &number);
	if (rc == 0) {
		*ret = number;
		rc = go_to(fd, number, &lost);
	} else if (rc == -EAGAIN) {
		rc = 0; /* all is read: it waits for the next one */
	}
	close(s->moved_fd);
	s->moved_fd = -1;
	return rc < 0 ? crcore_fail(err, rc, "cannot be read: %s", strerror(-rc)) : 0;
}

/* message Reader { uint32 id = 1; uint32 flags = 2; uint64 number = 3; } */
static unsigned char *put_field(unsigned char *p, unsigned field, uint64_t v)
{
	*p++ = (unsigned char)(field << 3);
	for (; v > 127; v >>= 7)
		*p++ = (unsigned char)(v | 128);
	*p++ = (unsigned char)v;
	return p;
}

static int kmsg_save_object(void *state, const struct crcore_object *obj, struct crcore_error *err)
{
	struct state *s = state;
	unsigned char msg[40], *p = msg;
	uint64_t number = 0;

	if ((obj->flags & O_ACCMODE) != O_WRONLY) {
		int rc = find_number(s, obj->local_fd, &number, err);
		if (rc < 0) {
			crcore_fail_at(err, obj->pid, obj->fd, "%s", obj->link);
			return rc;
		}
	}
	p = put_field(p, 1, obj->id);
	p = put_field(p, 2, obj->flags);
	p = put_field(p, 3, number);
	s->host->log(s->ctx, 3, "object %u reads record %" PRIu64 " next", obj->id, number);
	return s->host->put_record(s->ctx, "reader", msg, (size_t)(p - msg), err);
}

/* Reads one number of a record; false at a damaged one. */
static bool get_field(const unsigned char **p, const unsigned char *end, unsigned *field,
                      uint64_t *v)
{
	unsigned shift = 7;

	if (end - *p < 2 || (**p & 0x87)) /* field 1 to 15, a number */
		return false;
	*field = *(*p)++ >> 3;
	*v = **p & 127;
	for (; *(*p)++ & 128; shift += 7) {
		if (*p == end || shift > 63)
			return false;
		*v |= (uint64_t)(**p & 127) << shift;
	}
	return true;
}

static int kmsg_load_record(void *state, const char *section, uint32_t version, const void *msg,
                            size_t len, struct crcore_error *err)
{
	struct state *s = state;
	const unsigned char *p = msg, *end = p + len;
	uint64_t value[16] = { 0 }, v;
	unsigned field;

	while (p < end) {
		if (!get_field(&p, end, &field, &v))
			return crcore_fail(err, -EBADMSG, "the record of a reader is damaged");
		value[field] = v;
	}
	struct reader *r = calloc(1, sizeof(*r));
	if (!r)
		return crcore_fail(err, -ENOMEM, "out of memory");
	r->id = (uint32_t)value[1];
	r->flags = (uint32_t)value[2];
	r->number = value[3];
	r->next = s->readers;
	s->readers = r;
	return 0;
}

static int kmsg_check(void *state, struct crcore_error *err)
{
	struct state *s = state;
	uint64_t next;
	int rc = next_number(&next);

	if (rc < 0)
		return crcore_fail(err, rc, "/dev/kmsg cannot be read: %s", strerror(-rc));
	for (struct reader *r = s->readers; r; r = r->next) {
		if (r->number <= next)
			continue;
		if (strcmp(s->host->option(s->ctx, "other-log")->s, "newest")) {
			crcore_fail_at(err, -1, -1, "/dev/kmsg");
			crcore_advise(err, "set other-log: newest for kmsg in the policy to go on with what "
			              "the kernel logs from now on");
			return crcore_fail(err, -ESTALE, "a reader was at record %" PRIu64 ", and the log ends "
			                   "before: the kernel was started again since the dump", r->number);
		}
		r->number = next;
	}
	return 0;
}

static int kmsg_create(void *state, uint32_t object_id, struct crcore_error *err)
{
	struct state *s = state;
	struct reader *r = s->readers;
	bool lost = false;

	while (r && r->id != object_id)
		r = r->next;
	if (!r)
		return crcore_fail(err, -EBADMSG, "object %u has no record", object_id);
	int fd = open("/dev/kmsg", (int)(r->flags & (O_ACCMODE | O_NONBLOCK)) | O_CLOEXEC);
	if (fd < 0)
		return crcore_fail(err, -errno, "/dev/kmsg cannot be opened: %s", strerror(errno));
	int rc = (r->flags & O_ACCMODE) == O_WRONLY ? 0 : go_to(fd, r->number, &lost);
	if (rc < 0) {
		close(fd);
		return crcore_fail(err, rc, "/dev/kmsg: record %" PRIu64 " cannot be found: %s", r->number,
		                   strerror(-rc));
	}
	if (lost)
		s->host->log(s->ctx, 1, "record %" PRIu64 " of /dev/kmsg was overwritten: its reader goes "
		             "on with the oldest", r->number);
	return fd;
}

static const char *const other_log[] = { "refuse", "newest", NULL };
static const struct crcore_option options[] = {
	{ "other-log", CRCORE_CHOICE, "refuse", other_log, 0, 0,
	  "what to do if the kernel was started again since the dump" },
	{ NULL, 0, NULL, NULL, 0, 0, NULL },
};
static const struct crcore_field reader_fields[] = {
	{ 1, CRCORE_PLAIN, "id" }, { 2, CRCORE_PLAIN, "flags" }, { 3, CRCORE_PLAIN, "number" },
	{ 0, 0, NULL },
};
static const struct crcore_section sections[] = {
	{ "reader", 1, reader_fields },
	{ NULL, 0, NULL },
};
static const struct crcore_need needs[] = {
	{ 34 /* CAP_SYSLOG */, "to read the kernel's log where that is restricted" },
	{ 0, NULL },
};

CRCORE_EXPORT const struct crcore_plugin crcore_plugin = {
	CRCORE_PLUGIN_HEADER,
	.name = "kmsg",
	.version = "1.0",
	.summary = "readers and writers of the kernel's log",
	.options = options,
	.sections = sections,
	.needs = needs,
	.claims = "/dev/kmsg (exact)",
	.open = kmsg_open,
	.close = kmsg_close,
	.claim = kmsg_claim,
	.save_object = kmsg_save_object,
	.load_record = kmsg_load_record,
	.check = kmsg_check,
	.create = kmsg_create,
};
