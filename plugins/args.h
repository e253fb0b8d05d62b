/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments of operations (host->call), in short:
 *
 *   host->call(p, "acme: go on", SYS_ioctl, ARGS(RESULT(fd), IMM(ACME_GO), DATA(head)),
 *              CRCORE_EQUAL, 0);
 */
#ifndef PLUGINS_ARGS_H
#define PLUGINS_ARGS_H

#include <crcore/plugin.h>

#define ARGS(...) ((const struct crcore_arg[6]){ __VA_ARGS__ })
#define IMM(v) { .value = (uint64_t)(v) }
#define DATA(r) { .kind = CRCORE_DATA, .ref = (r) }
#define RESULT(op) { .kind = CRCORE_RESULT, .ref = (op) }

#endif
