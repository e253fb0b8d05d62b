/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `crcore policy`: the policy in force. The plugins are loaded (none is opened),
 * because only they know which options there are and what the defaults are; so
 * a policy that this prints is one that a dump would take.
 */
#include "core/cli/cli.h"
#include "core/host/host.h"
#include "core/util/util.h"

int command_policy(struct command *c, struct crcore_error *err)
{
	struct host *h = NULL;
	int r = host_look(c->policy, &h, err);

	if (r < 0)
		return r;
	r = policy_print(c->policy, stdout, c->json);
	host_free(h);
	return r < 0 ? crcore_fail(err, r, "cannot write the policy: %s", strerror(-r)) : 0;
}
