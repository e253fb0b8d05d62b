# SPDX-License-Identifier: Apache-2.0
"""Files, deleted files, mappings, locks, watches and marks on an overlay of two folders, as
containers have them: there the kernel shows other devices and inodes in different places."""
import os
import subprocess
import sys
import jobs
import crtest
from crtest import Failure

RUN_KIND = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "kinds", "run-kind")


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
    for program in programs:
        folder = os.path.join(merged, os.path.basename(program))
        os.mkdir(folder)
        os.chmod(folder, 0o777)
        p = subprocess.run([sys.executable, "-B", RUN_KIND, "--crcore", crcore, "--modes", "restore",
                            "--dump", "--link-remap --set events.queued=drop", program],
                           env={**os.environ, "CRCORE_TEST_DIR": folder}, capture_output=True,
                           text=True, check=False)
        if p.returncode:
            raise Failure(f"{os.path.basename(program)}: {p.stdout}{p.stderr}")
        print(f"{os.path.basename(program)}: {p.stdout.strip()}", flush=True)


jobs.run(main)
