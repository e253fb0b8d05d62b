/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdio.h>
#include "core/util/capability.h"

bool has_capability(cap_value_t capability)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t v = CAP_CLEAR;

	if (caps)
		cap_get_flag(caps, capability, CAP_EFFECTIVE, &v);
	cap_free(caps);
	return v == CAP_SET;
}

char *capability_name(cap_value_t capability, char ret[CAPABILITY_NAME_MAX])
{
	char *name = cap_to_name(capability);

	snprintf(ret, CAPABILITY_NAME_MAX, "%s", name ? name : "a capability that is unknown here");
	for (char *c = ret; name && *c; c++)
		*c = (char)toupper((unsigned char)*c);
	cap_free(name);
	return ret;
}
