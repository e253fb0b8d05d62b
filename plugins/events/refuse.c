/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds whose state no program but the one that made them can tell or set: claimed
 * only to say so, and what the program would have to do. */
#include "events.h"

static int refuse_userfaultfd(struct events *e, const struct crcore_object *obj,
                              struct crcore_error *err)
{
	crcore_advise(err, "let the program unregister its ranges and close the userfaultfd before the "
	              "dump");
	return crcore_fail(err, -ENOTSUP, "page faults that it is to handle cannot be saved");
}

static int refuse_io_uring(struct events *e, const struct crcore_object *obj, struct crcore_error *err)
{
	crcore_advise(err, "let the program finish its requests, unmap and close the ring before the dump; "
	              "or start it without io_uring (kernel.io_uring_disabled=2, or its own option: "
	              "UV_USE_IO_URING=0 for libuv, innodb_use_native_aio=0 for MariaDB)");
	return crcore_fail(err, -ENOTSUP, "requests in flight and what is registered with it cannot be "
	                   "saved");
}

const struct kind kind_userfaultfd = {
	.name = "[userfaultfd]", .title = "userfaultfd", .claim = refuse_userfaultfd,
};
const struct kind kind_io_uring = {
	.name = "[io_uring]", .title = "io_uring", .claim = refuse_io_uring,
};
