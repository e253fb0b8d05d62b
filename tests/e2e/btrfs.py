# SPDX-License-Identifier: Apache-2.0
"""Files, deleted files, mappings, executables, locks, watches and marks on btrfs, with the
images there too. Each subvolume has a device number of its own, which stat(2) shows; maps,
fdinfo and /proc/locks show that of the whole file system. In a snapshot the inodes have the
numbers that they have in what it is of."""
import os
import jobs
import on_disk


def main(crcore, *programs):
    top = on_disk.mount_new("btrfs", 300 << 20)
    deep = os.path.join(top, "inner", "deep")
    for path in (os.path.dirname(deep), deep):
        on_disk.must("btrfs", "subvolume", "create", path)
    on_disk.run_kinds(crcore, deep, programs)
    for name in ("a", "b"):
        with open(os.path.join(deep, name), "wb") as f:
            f.write(b"before" * 10000)
    snapshot, mounted = os.path.join(top, "snapshot"), os.path.join(top, "mounted")
    on_disk.must("btrfs", "subvolume", "snapshot", deep, snapshot)
    os.mkdir(mounted)
    on_disk.must("mount", "-o", "subvol=snapshot,loop", top + ".disk", mounted)
    with open(os.path.join(mounted, "a"), "r+b") as f:
        f.write(b"after")
    on_disk.run_twins(crcore, mounted, os.path.join(deep, "a"), os.path.join(snapshot, "a"),
                      os.path.join(mounted, "b"), os.path.join(deep, "b"),
                      other=on_disk.elsewhere(os.path.join(deep, "a")))


jobs.run(main)
