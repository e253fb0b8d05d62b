/* SPDX-License-Identifier: Apache-2.0 */
/* Records of sockets. See record.h. */
#include "plugins/net/record.h"
#include "plugins/util.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* -- dump ---------------------------------------------------------------------------------- */

Net__Option **net_options_list(const struct net_value *v, unsigned n)
{
	Net__Option **list = malloc((n + 1) * sizeof(*list) + n * sizeof(**list));
	Net__Option *o = list ? (Net__Option *)(void *)(list + n + 1) : NULL;

	for (unsigned i = 0; list && i < n; i++) {
		net__option__init(&o[i]);
		o[i].level = (uint32_t)v[i].level;
		o[i].number = (uint32_t)v[i].number;
		o[i].value.data = (uint8_t *)(uintptr_t)v[i].data;
		o[i].value.len = v[i].len;
		list[i] = &o[i];
	}
	return list;
}

/* -- lists --------------------------------------------------------------------------------- */

void *net_load(void *list, unsigned *n, size_t size, const ProtobufCMessageDescriptor *d,
               const void *msg, size_t len, struct crcore_error *err)
{
	struct net_made ***all = list, *m = calloc(1, size);

	if (!m || !GROW(*all, *n)) {
		free(m);
		crcore_no_memory(err);
		return NULL;
	}
	m->rec = (struct net_record *)protobuf_c_message_unpack(d, NULL, len, msg);
	if (!m->rec) {
		free(m);
		crcore_fail(err, -EBADMSG, "the record of a socket is damaged");
		return NULL;
	}
	return (*all)[(*n)++] = m;
}

static int by_id(const void *a, const void *b)
{
	const struct net_made *x = *(struct net_made *const *)a, *y = *(struct net_made *const *)b;

	return (x->rec->id > y->rec->id) - (x->rec->id < y->rec->id);
}

int net_sort(void *list, unsigned n, struct crcore_error *err)
{
	struct net_made **all = list;

	if (n)
		qsort(all, n, sizeof(*all), by_id);
	for (unsigned i = 1; i < n; i++)
		if (all[i - 1]->rec->id == all[i]->rec->id)
			return crcore_fail(err, -EBADMSG, "two records are of socket %u", all[i]->rec->id);
	return 0;
}

void *net_find(const void *list, unsigned n, uint32_t id)
{
	struct net_record rec = { .id = id };
	struct net_made key = { &rec }, *k = &key, **hit;

	hit = n ? bsearch(&k, list, n, sizeof(k), by_id) : NULL;
	return hit ? *hit : NULL;
}

int net_not_found(uint32_t id, struct crcore_error *err)
{
	return crcore_fail(err, -EBADMSG, "there is no record of object %u", id);
}

/* -- options ------------------------------------------------------------------------------- */

static int set(int fd, const Net__Option *o)
{
	return setsockopt(fd, (int)o->level, (int)o->number, o->value.data,
	                  (socklen_t)o->value.len) < 0 ? -errno : 0;
}

int net_option_apply(int fd, const Net__Option *o, struct crcore_error *err)
{
	int r = set(fd, o);
	char name[40];

	if (r == -ENODEV && o->level == SOL_SOCKET && o->number == SO_BINDTODEVICE)
		crcore_advise(err, "set up the interface %.*s", (int)o->value.len, (char *)o->value.data);
	return r < 0 ? crcore_fail(err, r, "cannot set %s: %s",
	                           net_option_name((int)o->level, (int)o->number, name), strerror(-r)) :
	               0;
}

int net_options_set(int fd, Net__Option *const *v, size_t n, unsigned when,
                    struct crcore_error *err)
{
	int r = 0;

	for (size_t i = 0; !r && i < n; i++)
		if (net_option_when((int)v[i]->level, (int)v[i]->number) & when)
			r = net_option_apply(fd, v[i], err);
	return r;
}

int net_option_again(int fd, Net__Option *const *v, size_t n, int level, int number)
{
	int r = 0;

	for (size_t i = 0; !r && i < n; i++)
		if ((int)v[i]->level == level && (int)v[i]->number == number)
			r = set(fd, v[i]);
	return r;
}

int net_owner_set(int fd, uint32_t uid, uint32_t gid, uint32_t mode, uint32_t flags)
{
	struct stat st;

	if (fstat(fd, &st) < 0 ||
	    ((st.st_uid != uid || st.st_gid != gid) && fchown(fd, uid, gid) < 0) ||
	    (st.st_mode != mode && fchmod(fd, mode & 07777) < 0) ||
	    fcntl(fd, F_SETFL, (int)flags & O_NONBLOCK) < 0)
		return -errno;
	return 0;
}
