# SPDX-License-Identifier: Apache-2.0
"""Every operation of every task's program fails once: on dump, where the tree must run
on unharmed, and on restore, which must leave no process and must work when tried again.
CRCORE_FAIL_OP=#N makes the Nth operation of all fail."""
import os
import shutil
import sys
import jobs
import crtest
import snapshot
from crtest import Failure

LIMIT = 4000


class Test:
    def __init__(self, crcore_path, program, step):
        self.step = step
        self.name = os.path.basename(program)
        self.top = os.path.join(crtest.scratch(), self.name)
        os.mkdir(self.top)
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        work = os.path.join(self.top, "work")
        self.target = t = crtest.Target([program, work], work)
        crtest.wait_for("the target", crtest.LIMIT,
                        lambda: t.read("ready") or t.proc.poll() is not None)
        if "skip" in t.read("result") or not t.read("ready"):
            raise crtest.Skip(t.read("result").strip() or "the target ended")
        self.still = "still" in t.read("ready")

    def failing(self, n, *args):
        """One run with operation n failing. True if it was beyond the last."""
        rc, _, err = self.crcore.run(*args, env={"CRCORE_FAIL_OP": f"#{n}"})
        if rc == 0:
            return True
        if rc < 0 or rc > 125:
            raise Failure(f"{args[0]} crashed at operation {n}: status {rc}\n{err}"
                          f"{self.crcore.tail()}")
        lines = [x for x in err.splitlines() if x.startswith("Error")]
        if len(lines) != 1:
            raise Failure(f"{args[0]}, operation {n}: not one line of error but:\n{err}")
        return False

    def dumps(self):
        before = self.still and snapshot.settled(self.target.pid)
        for n in range(0, LIMIT, self.step):
            image = os.path.join(self.top, "failed")
            if self.failing(n, "dump", "-t", self.target.pid, "-D", image):
                break
            if os.path.exists(image):
                raise Failure(f"dump, operation {n}: an image is left: {os.listdir(image)}")
            if self.target.proc.poll() is not None:
                raise Failure(f"dump, operation {n}: the tree has ended")
            lines = self.still and snapshot.diff(before, snapshot.take(self.target.pid))
            if lines:
                raise Failure(f"dump, operation {n}: the tree was changed:\n  " +
                              "\n  ".join(lines[:20]))
        else:
            raise Failure(f"a dump still fails at operation {LIMIT}")
        self.image = image
        self.target.killed()
        return n

    def restores(self):
        for n in range(0, LIMIT, self.step):
            before = set(crtest.pids())
            if self.failing(n, "restore", "-d", "-D", self.image):
                break
            crtest.wait_for(f"the end of all processes after restore, operation {n}", 10,
                            lambda: not set(crtest.pids()) - before)
            if crtest.start_time(self.target.pid):
                raise Failure(f"restore, operation {n}: the root is there")
        else:
            raise Failure(f"a restore still fails at operation {LIMIT}")
        return n

    def run(self):
        dumped, restored = self.dumps(), self.restores()
        open(self.target.path("go"), "w").close()
        crtest.wait_gone(self.target.pid)
        if self.target.read("result").strip() != "pass":
            raise Failure(f"{self.target.read('result')}\n{self.target.read('stderr')}")
        print(f"{self.name}: operations to {dumped} of a dump, to {restored} of a restore, "
              f"one in {self.step}", flush=True)


def main(crcore, *programs):
    if not int(os.environ.get("CRCORE_TEST_FAULTS", "1")):
        raise crtest.Skip("built without -Dfault-injection=true")
    # All of the first tree; the others repeat most of it, in more tasks.
    steps = [29, 97] if jobs.SHORT else [1, 17]
    for i, program in enumerate(programs):
        Test(crcore, program, steps[min(i, 1)]).run()


if __name__ == "__main__":
    jobs.run(main)
