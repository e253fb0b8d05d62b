#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build-blob.sh OUT SOURCE-DIR CC [ARG...]: compiles the interpreter to its bytes, for an array.
# The flags of the build (sanitizers, coverage, protectors) must not reach it.
set -e
out=$1 src=$2
shift 2
tmp=$out.tmp
"$@" -std=gnu17 -O2 -Wall -Wextra -Werror -ffreestanding -fpie -fvisibility=hidden \
	-fno-stack-protector -fno-asynchronous-unwind-tables -fno-unwind-tables -fno-jump-tables \
	-fcf-protection=none -fno-strict-aliasing -fno-builtin \
	-mgeneral-regs-only -mno-red-zone -U_FORTIFY_SOURCE -fno-sanitize=all \
	-nostdlib -static -Wl,-pie -Wl,--no-dynamic-linker -Wl,-z,text -Wl,--build-id=none \
	-Wl,-T,"$src/interpreter.lds" -o "$tmp.elf" "$src/interpreter.c" ||
	exit 1
objcopy -O binary -j .text "$tmp.elf" "$tmp.bin"
{
	echo '/* Made by build-blob.sh. */'
	nm "$tmp.elf" | sed -En \
		's/^([0-9a-f]*) . (landing|landing_end|return_to_application)$/#define BLOB_\2 0x\1/p'
	od -An -v -tx1 "$tmp.bin" | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'
} > "$tmp"
rm -f "$tmp.elf" "$tmp.bin"
mv "$tmp" "$out"
