# SPDX-License-Identifier: Apache-2.0
"""Files, deleted files, mappings, locks, watches and marks on an overlay of two folders, as
containers have them: there the kernel shows other devices and inodes in different places."""
import os
import subprocess
import jobs
import crtest
import on_disk


def main(crcore, *programs):
    top = os.path.join(crtest.scratch(), "layers")
    os.mkdir(top)
    subprocess.run(["mount", "-t", "tmpfs", "none", top], check=True)
    lower, upper, work, merged = (os.path.join(top, x) for x in ("lower", "upper", "work", "merged"))
    for folder in (lower, upper, work, merged):
        os.mkdir(folder)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    if subprocess.run(["mount", "-t", "overlay", "-o", options, "none", merged],
                      check=False).returncode:
        raise crtest.Skip("no overlays")
    on_disk.run_kinds(crcore, merged, programs)


jobs.run(main)
