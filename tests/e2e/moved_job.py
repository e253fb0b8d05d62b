# SPDX-License-Identifier: Apache-2.0
"""Moves two pages side by side, one at each step, and writes to the first: then the kernel
makes one mapping of two, of which one was watched (core/memory/watch.c, lift_marks)."""
import ctypes
import os
import sys
import time

work, P = sys.argv[1], 4096
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
MAYMOVE_FIXED, ANON_FIXED, RW = 3, 0x32, 3
A, D = 0x100000000000, 0x200000000000


def must(address):
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "cannot map")


def move(page):
    must(libc.mremap(ctypes.c_void_p(A + page * P), ctypes.c_size_t(P), ctypes.c_size_t(P),
                     MAYMOVE_FIXED, ctypes.c_void_p(D + page * P)))


def write(value):
    ctypes.memset(D, value, 100)


def merge():
    move(1)
    write(9)


def say(name):
    with open(os.path.join(work, name), "w", encoding="ascii") as f:
        f.write("yes")


must(libc.mmap(ctypes.c_void_p(A), ctypes.c_size_t(8 * P), RW, ANON_FIXED, -1, ctypes.c_long(0)))
ctypes.memset(A, 1, 8 * P)
say("ready")
for number, step in enumerate((lambda: move(0), merge, lambda: write(10), lambda: write(11)), 1):
    while not os.path.exists(os.path.join(work, f"step-{number}")):
        time.sleep(0.005)
    step()
    say(f"done-{number}")
time.sleep(1000)
