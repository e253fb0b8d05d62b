# SPDX-License-Identifier: Apache-2.0
"""100 MiB and 10 forks of it, each of which moved a page: the image is about 100 MiB,
and the tree takes about as much memory after the restore as before the dump."""
import os
import sys
import jobs
import crtest
from crtest import Failure

MIB = 1 << 20


def resident(root):
    """Memory that the tree takes, shared pages counted once, in bytes."""
    total = 0
    for pid in crtest.snapshot.tree(root):
        with open(f"/proc/{pid}/smaps_rollup") as f:
            total += sum(int(x.split()[1]) << 10 for x in f if x.startswith("Pss:"))
    return total


def main(crcore_path, program):
    top = crtest.scratch()
    crcore = crtest.Crcore(crcore_path, top)
    work, image = os.path.join(top, "work"), os.path.join(top, "image")
    t = crtest.Target([program, work], work).ready()
    before = resident(t.pid)
    crcore.dump(t.pid, image)
    t.killed()
    size = sum(os.stat(os.path.join(image, x)).st_blocks * 512 for x in os.listdir(image))
    crcore.restore_detached(image)
    after = resident(t.pid)
    open(t.path("go"), "w").close()
    crtest.wait_gone(t.pid)
    print(f"before {before / MIB:.1f} MiB, image {size / MIB:.1f} MiB, after {after / MIB:.1f} MiB")
    if t.read("result").strip() != "pass":
        raise Failure(f"{t.read('result')}\n{t.read('stderr')}")
    if size > 108 * MIB:
        raise Failure("the image holds shared pages more than once")
    if after > before * 1.05 + 2 * MIB:
        raise Failure("the restored tree takes more memory than before")


jobs.run(main)
