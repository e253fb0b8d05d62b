/* SPDX-License-Identifier: Apache-2.0 */
/* `crcore plugins`: what would be loaded, in which order, and what each of them does. */
#include "core/cli/cli.h"
#include "core/host/host.h"

int command_plugins(struct command *c, struct crcore_error *err)
{
	struct host *h = NULL;
	int r = host_look(c->policy, &h, err);

	if (r < 0)
		return r;
	host_print(h, stdout, c->json);
	host_free(h);
	return 0;
}
