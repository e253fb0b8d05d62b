/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to sock_diag, which tells of all sockets of a sort in the network namespace. */
#ifndef CRCORE_PLUGIN_NET_DIAG_H
#define CRCORE_PLUGIN_NET_DIAG_H

#include <crcore/plugin.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

/* Sends req, and calls on_message(.., arg) for each answer, which may return -NLE_NOMEM.
 * what, needs: for people, "TCP", "CONFIG_INET_TCP_DIAG". */
int net_diag(const void *req, size_t len, nl_recvmsg_msg_cb_t on_message, void *arg,
             const char *what, const char *needs, struct crcore_error *);
#endif
