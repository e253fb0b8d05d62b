/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that wait, in any number. See bank.c. */
#ifndef CRCORE_PLUGIN_TCP_BANK_H
#define CRCORE_PLUGIN_TCP_BANK_H

struct bank;

struct bank *bank_new(void);
int bank_put(struct bank *, int fd); /* takes it over, also if it fails */
/* Those that come next, as many as there are at once; the bank's own. 0: there are none. */
unsigned bank_next(struct bank *, const int **ret);
void bank_drop(struct bank *); /* closes the first of them */
/* They are done with: others close them. */
void bank_leave(struct bank *, unsigned n);
unsigned bank_dropped(const struct bank *); /* how many were */
void bank_free(struct bank *);

#endif
