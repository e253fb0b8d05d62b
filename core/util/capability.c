/* SPDX-License-Identifier: Apache-2.0 */
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
