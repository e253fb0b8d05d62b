# SPDX-License-Identifier: Apache-2.0
"""kill -9 of crcore at random moments of a restore: of the process that was started, of
its worker, of both. Either the whole tree is there afterwards, or nothing of it."""
import os
import random
import time
import jobs
import crtest
from crtest import Failure

KILLS = int(os.environ.get("CRCORE_TEST_KILLS", "20" if jobs.SHORT else "60"))


class Kills:
    kills = KILLS
    dump_args = ()

    def __init__(self, crcore_path, program, name=None):
        self.name = name or os.path.basename(program)
        self.top = os.path.join(crtest.scratch(), self.name)
        os.mkdir(self.top)
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        work = os.path.join(self.top, "work")
        self.target = t = crtest.Target([program, work], work)
        self.rng = random.Random(os.environ.get("CRCORE_TEST_SEED", "1"))
        self.whole = self.nothing = 0
        crtest.wait_for("the target", crtest.LIMIT,
                        lambda: t.read("ready") or t.proc.poll() is not None)
        if "skip" in t.read("result"):
            raise crtest.Skip(t.read("result").strip())

    def dump(self):
        self.size = len(crtest.snapshot.tree(self.target.pid))
        self.image = os.path.join(self.top, f"image-{self.whole}")
        self.crcore.dump(self.target.pid, self.image, *self.dump_args)
        if self.whole == 0:
            self.target.killed()
        crtest.wait_for("the end of the tree", 20, lambda: not self.left())
        self.tidy()

    def tidy(self):
        """Removes what a tree leaves behind that has been dumped and killed."""

    def objects(self):
        """What was made for the tree, besides processes."""
        return []

    def go_on(self):
        """The tree is restored for the last time."""

    def left(self):
        return set(crtest.pids()) - self.before

    def held(self, pid):
        """Is it still under construction, about to be killed with its tracer, or ending?"""
        try:
            with open(f"/proc/{pid}/status") as f:
                if "TracerPid:\t0\n" not in f.read():
                    return True
            with open(f"/proc/{pid}/maps") as f:
                maps = f.read()
            return not maps or "/memfd:crcore (deleted)" in maps
        except OSError:
            return True

    def all_there(self):
        left = self.left()
        return len(left) == self.size and not any(map(self.held, left))

    def all_or_nothing(self):
        if self.all_there():
            time.sleep(0.1)  # who is killed with its tracer may look whole until it has ended
            return self.all_there()
        return not self.left()

    def one(self, i, length):
        p = self.crcore.start("restore", "-d", "-D", self.image)
        time.sleep(self.rng.uniform(0, length * 1.1))
        crtest.kill_some(p, i)
        self.crcore.finish(p)
        crtest.wait_for(f"crcore to be gone after kill {i}", 20,
                        lambda: not crtest.running(self.crcore.path))
        crtest.wait_for(f"all or nothing after kill {i}: {self.size} processes, there are "
                        f"{len(self.left())}", 10, self.all_or_nothing)
        if len(self.left()) == 0:
            self.nothing += 1
            crtest.wait_for(f"nothing else to be left by kill {i}: {self.objects()}", 10,
                            lambda: not self.objects())
        elif crtest.start_time(self.target.pid) and len(self.left()) == self.size:
            self.whole += 1
            self.dump()
        else:
            raise Failure(f"kill {i} left {len(self.left())} of {self.size} processes")

    def run(self):
        t = self.target
        self.before = set(crtest.pids()) - set(crtest.snapshot.tree(t.pid))
        self.dump()
        start = time.monotonic()
        self.crcore.restore_detached(self.image)
        length = time.monotonic() - start
        self.whole += 1
        self.dump()
        for i in range(self.kills):
            self.one(i, length)
        self.crcore.restore_detached(self.image)
        self.go_on()
        open(t.path("go"), "w").close()
        crtest.wait_gone(t.pid)
        if t.read("result").strip() != "pass":
            raise Failure(f"{t.read('result')}\n{t.read('stderr')}")
        print(f"{self.name}: a restore takes {length * 1000:.0f} ms; {self.kills} kills, "
              f"{self.nothing} left nothing, {self.whole - 1} the whole tree", flush=True)
