/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * A way into the backlog of a listening socket, without a handshake. Since Linux 6.9 a
 * BPF program on the way in may say of a segment that it is the last of a handshake, and
 * what that has agreed on (bpf_sk_assign_tcp_reqsk, made for SYN cookies of one's own). The
 * kernel believes it, takes both sequence numbers from the segment, and puts a connection into
 * the backlog. Our program, at the loopback device, says so of segments with our mark whose
 * addresses are in its map; of all others that it sees it notes how far their connection
 * has come, since nothing else tells of one that nobody has accepted.
 *
 * The kernel lends that function only to programs under the GPL; hence the first line.
 */
#include "plugins/bpf/btf.h"
#include "plugins/tcp/backlog.h"
#include "plugins/tcp/bpf.h"

#include <net/if.h>

#define KFUNC "bpf_sk_assign_tcp_reqsk"
#define LISTEN 10
#define MIN_MSS_V4 536 /* what the kernel takes */
#define MIN_MSS_V6 1220

struct agreed { /* struct bpf_tcp_req_attrs */
	uint32_t peer_clock, own_clock;
	uint16_t mss;
	uint8_t receive_scale, send_scale, ecn, scaling, sack, timestamps, microseconds, reserved[3];
};
_Static_assert(sizeof(struct agreed) == 20, "struct agreed");

struct value {
	struct agreed agreed;
	int32_t result;  /* of the kernel's function; 1: it was not called */
	uint32_t state;  /* of the socket that the last segment was for */
	uint32_t next;   /* the number of the byte that it waits for */
};

/* Addresses and ports as they stand in a packet; IPv4: the first 12 bytes. */
struct key { uint8_t v[36]; };

/* -- the program --------------------------------------------------------------------------- */

enum { V6 = 1, LOOK, CONNECTED, RELEASE, PASS };

/* Places on its stack. */
#define KEY (-40)

static void find(struct code *c, bool v4, int len)
{
	set(c, 2, v4 ? 12 : 8);
	load_bytes(c, KEY, len, PASS);
}

static void look_up(struct code *c, int map)
{
	point_to_map(c, 1, map);
	point(c, 2, KEY);
	call(c, BPF_FUNC_map_lookup_elem);
	jump(c, BPF_JEQ, 0, 0, PASS);
	move(c, 7, 0);
	op(c, BPF_ST | BPF_MEM | BPF_W, 7, 0, offsetof(struct value, state), 0);
}

/* len: constant, as the kernel wants it. */
static void find_socket(struct code *c, int len)
{
	move(c, 1, 6);
	point(c, 2, KEY);
	set(c, 3, len);
	set(c, 4, -1); /* BPF_F_CURRENT_NETNS */
	set(c, 5, 0);
	call(c, BPF_FUNC_sk_lookup_tcp);
	jump(c, BPF_JEQ, 0, 0, PASS);
	move(c, 8, 0);
}

static void act(struct code *c, int kfunc)
{
	label_here(c, LOOK);
	load(c, BPF_W, 1, 8, offsetof(struct bpf_sock, state));
	store(c, BPF_W, 7, offsetof(struct value, state), 1);
	jump(c, BPF_JNE, 1, LISTEN, CONNECTED);
	move(c, 1, 6);
	move(c, 2, 8);
	move(c, 3, 7);
	set(c, 4, sizeof(struct agreed));
	op(c, BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, kfunc);
	store(c, BPF_W, 7, offsetof(struct value, result), 0);
	jump(c, BPF_JA, 0, 0, RELEASE);
	label_here(c, CONNECTED);
	move(c, 1, 8);
	call(c, BPF_FUNC_tcp_sock);
	jump(c, BPF_JEQ, 0, 0, RELEASE);
	load(c, BPF_W, 1, 0, offsetof(struct bpf_tcp_sock, rcv_nxt));
	store(c, BPF_W, 7, offsetof(struct value, next), 1);
	label_here(c, RELEASE);
	move(c, 1, 8);
	call(c, BPF_FUNC_sk_release);
}

static void write_program(struct code *c, int map, int kfunc)
{
	*c = (struct code){ .n = 0 };
	move(c, 6, 1);
	load(c, BPF_W, 0, 6, offsetof(struct __sk_buff, mark));
	jump(c, BPF_JNE, 0, LOCK_MARK, PASS);
	for (int i = 0; i < 40; i += 8)
		op(c, BPF_ST | BPF_MEM | BPF_DW, 10, 0, KEY + i, 0);
	load(c, BPF_W, 0, 6, offsetof(struct __sk_buff, protocol));
	jump(c, BPF_JEQ, 0, htons(0x86dd), V6);
	jump(c, BPF_JNE, 0, htons(0x0800), PASS);
	find(c, true, 12);
	look_up(c, map);
	find_socket(c, 12);
	jump(c, BPF_JA, 0, 0, LOOK);
	label_here(c, V6);
	find(c, false, 36);
	look_up(c, map);
	find_socket(c, 36);
	act(c, kfunc);
	label_here(c, PASS);
	leave(c, TCX_GO_ON);
}

static int load_program(int map, int kfunc)
{
	struct code c;

	write_program(&c, map, kfunc);
	return load_at_device(&c, TCX_INGRESS, "GPL", "crcore");
}

/* 0: it has no such function. */
static int kfunc_number(void)
{
	struct btf *btf;
	int r = btf_open(&btf);

	if (r < 0)
		return 0;
	r = btf_function(btf, KFUNC);
	btf_close(btf);
	return r;
}

/* -- at work ---------------------------------------------------------------------------------- */

static int make_map(void)
{
	union bpf_attr a = { .map_type = BPF_MAP_TYPE_HASH, .key_size = sizeof(struct key),
		.value_size = sizeof(struct value), .max_entries = 16 };

	return bpf(BPF_MAP_CREATE, &a);
}

/* Without them the kernel does not look for the end of a handshake that it has not begun. */
static bool cookies_off(void)
{
	cleanup_close int fd = open("/proc/sys/net/ipv4/tcp_syncookies", O_RDONLY | O_CLOEXEC);
	char text = '1';

	return fd >= 0 && read(fd, &text, 1) == 1 && text == '0';
}

/* The program of a new map. *kfunc: the number of the kernel's function, 0: not known yet. */
static int prepare(int *kfunc, int *ret_map, struct crcore_error *err)
{
	int program = -ENOSYS;

	if (cookies_off()) {
		crcore_advise(err, "sysctl net.ipv4.tcp_syncookies=1, or drop them: "
		              "--set tcp.in-flight=drop");
		return crcore_fail(err, -ENOTSUP, "connections that wait to be accepted can be put back "
		                   "only while SYN cookies are on");
	}
	if (!*kfunc)
		*kfunc = kfunc_number();
	*ret_map = *kfunc ? make_map() : -ENOSYS;
	program = *ret_map < 0 ? *ret_map : load_program(*ret_map, *kfunc);
	if (program >= 0)
		return program;
	close_fd(ret_map);
	crcore_advise(err, "drop them: --set tcp.in-flight=drop");
	return crcore_fail(err, -ENOTSUP, "this kernel has no way to put a connection back that waits "
	                   "to be accepted (" KFUNC ", since Linux 6.9): %s", strerror(-program));
}

int reqsk_begin(struct reqsk *ret, int *kfunc, struct crcore_error *err)
{
	cleanup_close int program = -1;
	union bpf_attr a;

	ret->map = ret->link = -1;
	program = prepare(kfunc, &ret->map, err);
	if (program < 0)
		return program;
	a = (union bpf_attr){ .link_create = { .prog_fd = (uint32_t)program,
		.target_ifindex = if_nametoindex("lo"), .attach_type = TCX_INGRESS } };
	ret->link = bpf(BPF_LINK_CREATE, &a);
	if (ret->link >= 0)
		return 0;
	close_fd(&ret->map);
	return crcore_fail(err, ret->link, "no program can hang at the loopback device: %s",
	                   strerror(-ret->link));
}

void reqsk_end(struct reqsk *q)
{
	close_fd(&q->link);
	close_fd(&q->map);
}

int reqsk_possible(int *kfunc, struct crcore_error *err)
{
	int map = -1;
	cleanup_close int program = prepare(kfunc, &map, err);

	close_fd(&map);
	return program < 0 ? program : 0;
}

static void put_end(struct key *k, bool v4, int which, const struct end *e)
{
	const size_t len = v4 ? 4 : 16;
	const uint16_t port = htons(e->port);

	memcpy(k->v + (size_t)which * len, v4 ? end_v4(e) : e->ip, len);
	memcpy(k->v + 2 * len + (size_t)which * 2, &port, 2);
}

static void make_key(const struct queued *w, struct key *k)
{
	const bool v4 = end_is_v4(&w->local);

	*k = (struct key){ .v = { 0 } };
	put_end(k, v4, 0, &w->remote);
	put_end(k, v4, 1, &w->local);
}

int reqsk_expect(const struct reqsk *q, const struct queued *w)
{
	const uint16_t least = end_is_v4(&w->local) ? MIN_MSS_V4 : MIN_MSS_V6;
	struct value v = { .result = 1, .agreed = { .own_clock = w->clock,
		.mss = w->mss < least ? least : w->mss, .receive_scale = w->receive_scale,
		.send_scale = w->send_scale, .ecn = w->ecn, .scaling = w->scaling, .sack = w->sack,
		.timestamps = w->timestamps } };
	struct key k;
	union bpf_attr a = { .map_fd = (uint32_t)q->map, .key = (uintptr_t)&k, .value = (uintptr_t)&v };

	make_key(w, &k);
	return bpf(BPF_MAP_UPDATE_ELEM, &a);
}

/* Negative errno: the kernel does not take it. 0: it is not there yet. */
int reqsk_seen(const struct reqsk *q, const struct queued *w, uint32_t *ret_next)
{
	struct value v;
	struct key k;
	union bpf_attr a = { .map_fd = (uint32_t)q->map, .key = (uintptr_t)&k, .value = (uintptr_t)&v };
	int r;

	make_key(w, &k);
	r = bpf(BPF_MAP_LOOKUP_ELEM, &a);
	if (r < 0 || v.result < 0)
		return r < 0 ? r : v.result;
	*ret_next = v.next;
	return state_connected((uint8_t)v.state);
}

void reqsk_forget(const struct reqsk *q, const struct queued *w)
{
	struct key k;
	union bpf_attr a = { .map_fd = (uint32_t)q->map, .key = (uintptr_t)&k };

	make_key(w, &k);
	bpf(BPF_MAP_DELETE_ELEM, &a);
}
