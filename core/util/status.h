/* SPDX-License-Identifier: Apache-2.0 */
/* Wait statuses (wait(2)) that come from outside. */
#ifndef CRCORE_UTIL_STATUS_H
#define CRCORE_UTIL_STATUS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* May a process end with it? Who is to end so by a signal that ends nobody would live on. */
static inline bool status_is_end(uint32_t status)
{
	static const int harmless[] = { SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN,
		                        SIGTTOU };
	const int sig = status & 0x7f;

	for (unsigned i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
		if (sig == harmless[i])
			return false;
	return status <= 0xffff && sig < _NSIG;
}
#endif
