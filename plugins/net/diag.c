/* SPDX-License-Identifier: Apache-2.0 */
/* sock_diag. See diag.h. */
#include "plugins/net/diag.h"

#include <errno.h>
#include <linux/sock_diag.h>

#define RECEIVE_BUFFER (1 << 20)

static int ask(struct nl_sock *sk, const void *req, size_t len, nl_recvmsg_msg_cb_t on_message,
               void *arg)
{
	int r = nl_connect(sk, NETLINK_SOCK_DIAG);

	if (r < 0)
		return r;
	nl_socket_set_buffer_size(sk, RECEIVE_BUFFER, 0); /* a wish */
	r = nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, on_message, arg);
	if (!r)
		r = nl_send_simple(sk, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, (void *)(uintptr_t)req, len);
	return r < 0 ? r : nl_recvmsgs_default(sk);
}

int net_diag(const void *req, size_t len, nl_recvmsg_msg_cb_t on_message, void *arg,
             const char *what, const char *needs, struct crcore_error *err)
{
	struct nl_sock *sk = nl_socket_alloc();
	int r = sk ? ask(sk, req, len, on_message, arg) : -NLE_NOMEM;

	nl_socket_free(sk);
	if (r >= 0)
		return 0;
	if (r == -NLE_NOMEM)
		return crcore_no_memory(err);
	crcore_advise(err, "the kernel needs %s", needs);
	return crcore_fail(err, -EIO, "sock_diag does not list the %s sockets: %s", what,
	                   nl_geterror(r));
}
