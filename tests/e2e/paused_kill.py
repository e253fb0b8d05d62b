# SPDX-License-Identifier: Apache-2.0
"""kill -9 of crcore (main, worker, or both) at random moments while a paused tree is saved: the
tree is paused still, complete, has not executed a step, and goes on when it is thawed. And when
crcore has just sent a thread into a program, one after the other: the next dump finds where the
application was, also of a process that may have no writable code (the third of the target).
CRCORE_TEST_KILLS is how often, for each version of control groups (16)."""
import os
import random
import shutil
import struct
import sys
import time

import jobs
import crtest
import groups
from crtest import Failure
from groups import V1, Group

KILLS = int(os.environ.get("CRCORE_TEST_KILLS", "8" if jobs.SHORT else "16"))
SENT_OFF = 25  # threads, of which a tree of nine has some sent off in each of the first stages


def status(pid, key):
    with open(f"/proc/{pid}/status") as f:
        return next(x.split(":", 1)[1].strip() for x in f if x.startswith(key + ":"))


class Kills:
    def __init__(self, crcore, program, kill_at, hierarchy):
        self.kill_at = os.path.abspath(kill_at)
        self.version = 1 if hierarchy == V1 else 2
        self.top = os.path.join(crtest.scratch(), hierarchy)
        os.mkdir(self.top)
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore, self.top)
        work = os.path.join(self.top, "work")
        self.target = crtest.Target([program, work], work).ready()
        self.outer, self.group = Group(hierarchy, "k").make(), Group(hierarchy, "k/inner").make()
        self.pids = crtest.snapshot.tree(self.target.pid)
        self.group.add(*self.pids)
        self.group.freeze()
        self.outer.freeze()
        self.rng = random.Random(os.environ.get("CRCORE_TEST_SEED", "1"))
        self.complete = 0

    def counters(self):
        with open(self.target.path("count"), "rb") as f:
            return struct.unpack("9Q", f.read(72))

    def frozen(self):
        return self.group.own() and self.outer.own() and self.group.frozen() and self.group.still()

    def check(self, when):
        crtest.wait_for("crcore to be gone", 20, lambda: not crtest.running(self.crcore.path))
        for pid in self.pids:
            if not crtest.start_time(pid):
                raise Failure(f"version {self.version}: process {pid} is gone {when}")
            crtest.wait_for(f"process {pid} to be free of tracers {when}", 20,
                            lambda: status(pid, "TracerPid") == "0")
        crtest.wait_for(f"the tree to be frozen {when}", 5, self.frozen)

    def length(self):
        took = []
        for i in range(3):
            start = time.monotonic()
            self.crcore.dump(self.target.pid, os.path.join(self.top, f"whole-{i}"), "-R")
            took.append(time.monotonic() - start)
            shutil.rmtree(os.path.join(self.top, f"whole-{i}"))
        return sorted(took)[1]

    def one(self, i, length):
        image = os.path.join(self.top, f"image-{i}")
        before = self.counters()
        p = self.crcore.start("dump", "-t", self.target.pid, "-D", image, "-R",
                              env=crtest.NO_LEAK_SEARCH)
        time.sleep(self.rng.uniform(0, length * 1.1))
        crtest.kill_some(p, i)
        self.crcore.finish(p)
        self.check(f"after kill {i}")
        if self.counters() != before:
            raise Failure(f"version {self.version}: counters moved at kill {i}")
        self.complete += os.path.exists(os.path.join(image, "manifest"))
        shutil.rmtree(image, ignore_errors=True)

    def in_a_program(self):
        """Threads that are in what crcore has mapped in them."""
        for pid in self.pids:
            with open(f"/proc/{pid}/maps") as f:
                ours = [x.split()[0].split("-") for x in f if "/dev/zero (deleted)" in x]
            for tid in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{tid}/syscall") as f:
                    at = int(f.read().split()[-1], 16)
                if any(int(a, 16) <= at < int(b, 16) for a, b in ours):
                    yield tid

    def sent_off(self, n):
        image = os.path.join(self.top, f"sent-{n}")
        before = self.counters()
        env = {"LD_PRELOAD": self.kill_at, "CRCORE_KILL_CONT": str(n), **(crtest.NO_LEAK_SEARCH or {})}
        self.crcore.finish(self.crcore.start("dump", "-t", self.target.pid, "-D", image, "-R", env=env))
        self.check(f"after a kill at thread {n}")
        self.stuck += any(True for _ in self.in_a_program())
        shutil.rmtree(image, ignore_errors=True)
        self.crcore.dump(self.target.pid, image, "-R")
        if list(self.in_a_program()):
            raise Failure(f"version {self.version}: kill at thread {n}: {list(self.in_a_program())} are "
                          "not back in the application")
        if self.counters() != before:
            raise Failure(f"version {self.version}: counters moved at a kill at thread {n}")
        shutil.rmtree(image)

    def run(self):
        length, self.stuck = self.length(), 0
        for i in range(KILLS):
            self.one(i, length)
        for n in range(1, SENT_OFF):
            self.sent_off(n)
        if not self.stuck:
            raise Failure(f"version {self.version}: no thread was in a program when crcore was killed")
        self.outer.thaw()
        self.group.thaw()
        before = self.counters()
        for i in range(9):
            crtest.wait_for(f"counter {i} to move", 30, lambda: self.counters()[i] > before[i])
        t = self.target
        open(t.path("go"), "w").close()
        crtest.wait_gone(t.pid)
        if t.read("result").strip() != "pass":
            raise Failure(f"{t.read('result')}\n{t.read('stderr')}")
        print(f"version {self.version}: a dump takes {length * 1000:.0f} ms; {KILLS} kills, "
              f"{self.complete} after the image was complete", flush=True)


def main(crcore, program, kill_at):
    groups.each(lambda hierarchy: Kills(crcore, program, kill_at, hierarchy).run())


jobs.run(main)
