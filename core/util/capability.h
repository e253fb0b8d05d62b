/* SPDX-License-Identifier: Apache-2.0 */
/* What crcore itself may do (capabilities(7)). */
#ifndef CRCORE_CAPABILITY_H
#define CRCORE_CAPABILITY_H

#include <stdbool.h>
#include <sys/capability.h>

/* Is it in our effective set? */
bool has_capability(cap_value_t);
/* "CAP_SYS_ADMIN". Returns ret. */
#define CAPABILITY_NAME_MAX 40
char *capability_name(cap_value_t, char ret[CAPABILITY_NAME_MAX]);

#endif
