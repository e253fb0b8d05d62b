# SPDX-License-Identifier: Apache-2.0
"""kill -9 of crcore at random moments of a restore: all of the tree, or nothing of it.
CRCORE_TEST_KILLS is how often (60)."""
import jobs
from restore_kills import Kills


def main(crcore, *programs):
    for program in programs:
        Kills(crcore, program).run()


jobs.run(main)
