# SPDX-License-Identifier: Apache-2.0
"""A Python program with threads and a subprocess, checkpointed several times."""
import os
import jobs


def main(crcore):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "python_job.py")
    job = jobs.Job(crcore, [jobs.python(), script, "result", "1500"],
                   lambda work: {"result": jobs.sha256(os.path.join(work, "result"))})
    job.undisturbed()
    job.disturbed(2 if jobs.SHORT else 3)
    job.left_running(2 if jobs.SHORT else 3)


jobs.run(main)
