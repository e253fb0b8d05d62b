/* SPDX-License-Identifier: Apache-2.0 */
/* The core's own keys of a policy, dump.* and restore.*, as a table like any plugin's (core.c).
 * What each means is in docs/policy.md. */
#ifndef CRCORE_CORE_OPTIONS_H
#define CRCORE_CORE_OPTIONS_H
#include <crcore/plugin.h>
extern const struct crcore_option core_options[]; /* names with the dot, ends with NULL */
#endif
