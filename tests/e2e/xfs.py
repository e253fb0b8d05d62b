# SPDX-License-Identifier: Apache-2.0
"""The same as in btrfs.py on xfs: with inode numbers of more than 32 bits, and with files
that have their blocks in common."""
import os
import jobs
import on_disk
from crtest import Failure

SIZE = 8 << 40  # of which next to nothing is written


def far(top):
    """A folder far behind: each new one is in another part of the disk."""
    for i in range(64):
        path = os.path.join(top, f"folder-{i}")
        os.mkdir(path)
        if os.stat(path).st_ino >> 32:
            return path
    raise Failure("all inodes have small numbers")


def main(crcore, *programs):
    folder = far(on_disk.mount_new("xfs", SIZE, "-K", "-l", "size=64m", "-d", "agcount=32"))
    on_disk.run_kinds(crcore, folder, programs)
    paths = [os.path.join(folder, x) for x in ("a", "b", "c")]
    with open(paths[0], "wb") as f:
        f.write(b"before" * 10000)
    for path in paths[1:]:
        on_disk.must("cp", "--reflink=always", paths[0], path)
    with open(paths[2], "r+b") as f:
        f.write(b"after")
    on_disk.run_twins(crcore, folder, *paths)


jobs.run(main)
