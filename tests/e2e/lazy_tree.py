# SPDX-License-Identifier: Apache-2.0
"""A program that is restored with --lazy, with its pager stopped before all is loaded."""
import os
import shutil
import signal
import jobs
import crtest
from crtest import Failure

MIB = "128" if jobs.SHORT else "256"


def named(comm):
    """Processes of this test's namespace with that name."""
    return [pid for pid in crtest.pids() if crtest.comm(pid) == comm]


class LazyTree:
    def __init__(self, crcore_path, program, shared, changing=None):
        self.changing, self.shared = changing, shared
        self.top = crtest.scratch()
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.program = program
        self.image = os.path.join(self.top, "image")

    def start(self, program, *args):
        work = os.path.join(self.top, f"work-{self.crcore.count}")
        t = crtest.Target([program, work, *args], work)
        crtest.wait_for("the program", crtest.LIMIT, lambda: t.read("ready"))
        return t

    def dump(self, program=None, args=(MIB,)):
        shutil.rmtree(self.image, ignore_errors=True)
        t = self.start(program or self.program, *args)
        self.crcore.dump(t.pid, self.image)
        t.killed()
        return t

    def restore(self):
        """Restored, with its pager stopped before all is loaded; None: it was too fast for us."""
        pid = self.crcore.restore_detached(self.image, "--lazy")
        for pager in named("cr-pager"):
            os.kill(pager, signal.SIGSTOP)
            if crtest.loading(pid):
                return pid, pager
        return pid, None

    def go(self, t):
        with open(t.path("go"), "w"):
            pass

    def finish(self, t, pid, log=""):
        """It checks itself and ends; nobody is left."""
        crtest.wait_gone(pid)
        result = t.read("result").strip()
        if result != "pass":
            raise Failure(f"after {self.what}: {result or 'no result'}{t.read('stderr')}\n"
                          f"{self.crcore.tail()}")
        self.nobody_left()
        if log and log not in self.crcore.tail(200):
            raise Failure(f"after {self.what}: the log does not say \"{log}\"\n{self.crcore.tail()}")

    def nobody_left(self):
        crtest.wait_for(f"the end of the pager ({self.what})", crtest.LIMIT,
                        lambda: not named("cr-pager") + named("cr-standby"))
