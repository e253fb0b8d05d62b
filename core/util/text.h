/* SPDX-License-Identifier: Apache-2.0 */
/* Text that came from outside, made fit for a terminal; sizes for people. */
#ifndef CRCORE_TEXT_H
#define CRCORE_TEXT_H

#include <crcore/error.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Length of the well-formed UTF-8 sequence at s (n > 0 bytes left), 0 if it is none. */
unsigned utf8_len(const unsigned char *s, size_t n);
/* Prints bytes; control characters, escapes of terminals, backslashes and what is
 * not UTF-8 come out as \n, \t, \\ or \xNN. */
void print_text(FILE *, const char *s, size_t len);
static inline void print_string(FILE *f, const char *s) { print_text(f, s, strlen(s)); }
/* One line for a log or an error, cut where to has no more room (> 0): as above, but a backslash
 * stays one, so that what has been made fit before is not changed again. Returns its length. */
size_t line_text(char *to, size_t room, const char *s);
/* What is said of an error, everywhere: "plugin: pid 1: fd 2: object: message; advice". */
#define ERROR_TEXT_MAX 2048
char *error_text(const struct crcore_error *, char ret[ERROR_TEXT_MAX]);
/* "0", "512 bytes", "16 KiB", "1.5 GiB". Returns ret. */
#define SIZE_TEXT_MAX 24
char *size_text(uint64_t bytes, char ret[SIZE_TEXT_MAX]);
#endif
