# SPDX-License-Identifier: Apache-2.0
"""tar | gzip, with a shell around it, checkpointed several times on its way."""
import os
import jobs


def main(crcore):
    folder = next(x for x in ("/usr/include", "/usr/share/perl", "/usr/share") if os.path.isdir(x))
    script = ('tar c --sort=name "$1" 2>messages | gzip -n | tee copy.gz >out.gz; '
              'sha256sum out.gz copy.gz >sums')
    job = jobs.Job(crcore, ["/bin/sh", "-c", script, "job", folder],
                   lambda work: {x: jobs.sha256(os.path.join(work, x))
                                 for x in ("out.gz", "copy.gz", "sums")})
    job.undisturbed()
    job.disturbed(1 if jobs.SHORT else 4)
    job.left_running(2 if jobs.SHORT else 5)


jobs.run(main)
