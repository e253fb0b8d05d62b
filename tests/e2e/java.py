# SPDX-License-Identifier: Apache-2.0
"""A Java program with threads, timers, files, a mapped file and a file lock, under the
ordinary virtual machine with its compiler and collector, checkpointed on its way."""
import contextlib
import os
import shutil
import subprocess
import jobs
import crtest
from crtest import Failure


def main(crcore):
    for program in ("java", "javac"):
        crtest.need(program)
    top = crtest.scratch()
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "Work.java")
    p = subprocess.run(["javac", "-d", top, source], capture_output=True, text=True, timeout=200)
    if p.returncode:
        raise Failure(p.stderr)
    job = jobs.Job(crcore, ["java", "-Xmx128m", "-cp", top, "Work", "60"],
                   lambda work: {"result": jobs.sha256(os.path.join(work, "result"))})
    job.undisturbed()
    job.disturbed(1 if jobs.SHORT else 3)
    job.left_running(2)
    shutil.rmtree(job.work)


@contextlib.contextmanager
def tidy():
    """A virtual machine makes a folder of its user's in /tmp, and leaves it there."""
    folder = "/tmp/hsperfdata_root"
    mine = not os.path.exists(folder)
    try:
        yield
    finally:
        if mine:
            shutil.rmtree(folder, ignore_errors=True)


with tidy():
    jobs.run(main)
