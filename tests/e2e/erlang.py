# SPDX-License-Identifier: Apache-2.0
"""The Erlang virtual machine with its schedulers, and the process by which it starts others,
checkpointed in the middle of its work."""
import os
import subprocess
import jobs
import crtest
from crtest import Failure


def main(crcore):
    for program in ("erl", "erlc"):
        crtest.need(program)
    top = crtest.scratch()
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "work.erl")
    p = subprocess.run(["erlc", "-o", top, source], capture_output=True, text=True, timeout=60)
    if p.returncode:
        raise Failure(p.stdout + p.stderr)
    job = jobs.Job(crcore, ["erl", "-noshell", "-noinput", "-pa", top, "-run", "work", "main", "300"],
                   lambda work: {"result": jobs.sha256(os.path.join(work, "result"))})
    job.undisturbed()
    job.disturbed(2 if jobs.SHORT else 4)
    job.left_running(4)


jobs.run(main)
