# SPDX-License-Identifier: Apache-2.0
"""A program in Go, whose runtime makes its system calls by itself and interrupts its threads by
signals: restic, checkpointed in the middle of a backup. All that was saved can be read back."""
import os
import random
import shutil
import subprocess
import jobs
import crtest
from crtest import Failure

FILES, SIZE = 20, 1 << 20
RESTIC = ["restic", "-q", "--no-cache", "-r", "repo", "--password-file", "password"]


def restic(work, *args):
    p = subprocess.run([*RESTIC, *args], cwd=work, capture_output=True, text=True, timeout=100)
    if p.returncode:
        raise Failure(f"restic {' '.join(args)}: {p.stdout}{p.stderr}")


def make(folder):
    """What each backup begins with."""
    rng = random.Random(1)
    os.makedirs(os.path.join(folder, "source"))
    for i in range(FILES):
        with open(os.path.join(folder, "source", str(i)), "wb") as f:
            f.write(rng.randbytes(SIZE))
    with open(os.path.join(folder, "password"), "w") as f:
        f.write("secret")
    restic(folder, "init")


def results(work):
    restic(work, "restore", "latest", "--target", "back") # which checks all that it reads
    found = {}
    for folder, _, files in os.walk(os.path.join(work, "back")):
        found.update({x: jobs.sha256(os.path.join(folder, x)) for x in files})
    return found


def main(crcore):
    crtest.need("restic")
    begin = os.path.join(crtest.scratch(), "begin")
    make(begin)
    job = jobs.Job(crcore, [*RESTIC, "--limit-upload", "16000", "backup", "source"], results,
                   lambda work: shutil.copytree(begin, work, dirs_exist_ok=True))
    job.undisturbed()
    if len(job.reference) != FILES:
        raise Failure(f"{len(job.reference)} files were saved")
    job.disturbed(2 if jobs.SHORT else 4)
    job.left_running(4)


jobs.run(main)
