#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The installed headers compile alone, in every dialect a plugin may be written
# in, with all warnings, in either order, and twice. $1: the source tree.
set -u
tried=0
failed=0
try() {
	compiler=$1
	shift
	command -v "$compiler" >/dev/null || return 0
	tried=$((tried + 1))
	for first in error plugin; do
		printf '#include <crcore/%s.h>\n#include <crcore/plugin.h>\n#include <crcore/error.h>\n' "$first" |
			"$compiler" "$@" -Wall -Wextra -Werror -Wpedantic -Wno-unused-parameter -fsyntax-only \
			-I "$include" - || { echo "FAILED: $compiler $*"; failed=1; }
	done
}
include=$1/include
for cc in gcc clang; do
	for std in c11 c17 gnu11 gnu17 gnu2x; do
		try $cc -x c -std=$std -Wstrict-prototypes -Wshadow -Wconversion
	done
done
for cxx in g++ clang++; do
	for std in c++11 c++17 gnu++20; do
		try $cxx -x c++ -std=$std -Wshadow -Wconversion
	done
done
[ $tried -gt 0 ] || { echo "skipped: no compiler"; exit 77; }
exit $failed
