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

const struct kind kind_userfaultfd = {
	.name = "[userfaultfd]", .title = "userfaultfd", .claim = refuse_userfaultfd,
};
