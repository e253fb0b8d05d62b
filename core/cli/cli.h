/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: flags become an overlay of the policy (options) or fields
 * of struct command (operands of this one run). One function a command.
 */
#ifndef CRCORE_CLI_H
#define CRCORE_CLI_H

#include "core/policy/command.h"

/* Says what to do about it, where only a limit of crcore is in the way and nobody has said it. */
void advise_by_limit(struct crcore_error *);
/* The one place that prints an error: a line "Error: ..." on stderr, or JSON on stdout. */
void report_error(const struct crcore_error *, bool json);
#endif
