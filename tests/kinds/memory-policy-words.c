/* SPDX-License-Identifier: Apache-2.0 */
/* The same for a process that is large enough for another way to find them. */
#define LARGE (40 << 20)
#include "memory-policy.c"
