#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Writes a C table of system call numbers and names: syscall-names.sh OUT CC [ARG...]
# What the compiler's <asm/unistd.h> lacks is unknown by name (numbers always work).
set -e
out=$1
shift
echo '#include <asm/unistd.h>' | "$@" -E -dM -x c - |
	sed -n 's/^#define __NR_\([a-z0-9_]*\) \([0-9][0-9]*\)$/{ \2, "\1" },/p' |
	sort -t' ' -k2 -n > "$out"
