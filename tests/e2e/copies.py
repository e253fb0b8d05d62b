# SPDX-License-Identifier: Apache-2.0
"""One image is restored twenty times at once, each copy in a pid namespace of its own, from a disk
of which nothing is in memory: its bytes are read once for all, and kept once. Every copy finds
itself whole."""
import mmap
import os
import resource
import subprocess
import sys
import time

import jobs  # finds crtest
import crtest
from crtest import Failure

COPIES = 8 if jobs.SHORT else 20
MIB = 32
# They all write to the same files.
ONE_OUTPUT = ("--set", "files.changed-file=accept")


def cached(path):
    """Bytes of a file that are in memory."""
    out = subprocess.run(["fincore", "--raw", "--bytes", "--noheadings", "-o", "RES", path],
                         stdout=subprocess.PIPE, check=True)
    return int(out.stdout)


def forget(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def read_by_children():
    """Bytes that children who have ended, theirs among them, had read from the disk."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock * 512


class Test:
    def __init__(self, crcore_path, program):
        self.crcore = crtest.Crcore(crcore_path, crtest.scratch(),
                                    ("unshare", "--pid", "--fork", "--mount-proc"))
        self.work = os.path.join(crtest.scratch(), "work")
        self.image = os.path.join(crtest.scratch(), "image")
        t = crtest.Target([program, self.work, str(MIB)], self.work).ready()
        crtest.Crcore(crcore_path, crtest.scratch()).dump(t.pid, self.image)
        t.killed()
        with open(t.path("go"), "w"):
            pass

    def restore(self, n, *args):
        """That many at once, from the disk: seconds until the last has ended, bytes read."""
        for path in crtest.page_files(self.image):
            forget(path)
            if cached(path):
                raise crtest.Skip("what was written cannot be taken out of memory here")
        before, start = read_by_children(), time.monotonic()
        runs = [self.crcore.start("restore", "-D", self.image, *args, *ONE_OUTPUT, log=False)
                for _ in range(n)]
        for p in runs:
            rc, _, err = self.crcore.finish(p)
            if rc:
                raise Failure(f"a copy of {n}: status {rc}\n{err}")
        return time.monotonic() - start, read_by_children() - before

    def run(self, *args):
        size = sum(os.path.getsize(path) for path in crtest.page_files(self.image))
        if size < MIB << 20:
            raise Failure(f"the image has {size} bytes of pages only")
        one, read_one = self.restore(1, *args)
        if read_one < size // 2 and not args:
            raise crtest.Skip("this file system does not count what is read from its disk")
        all_of_them, read_all = self.restore(COPIES, *args)
        print(f"{' '.join(args) or 'restore'}: 1 copy {one * 1000:.0f} ms, {read_one >> 20} MiB read; "
              f"{COPIES} copies {all_of_them * 1000:.0f} ms, {read_all >> 20} MiB read")
        if read_all > size * 3 // 2 + (8 << 20):
            raise Failure(f"{COPIES} copies of {size >> 20} MiB read {read_all >> 20} MiB")
        resident = sum(cached(path) for path in crtest.page_files(self.image))
        if resident > size + mmap.PAGESIZE * 16:
            raise Failure(f"{resident} bytes of {size} are in memory")


def main():
    crtest.need("fincore")
    test = Test(*sys.argv[1:3])
    test.run()
    test.run("--lazy")


crtest.main(main)
