# SPDX-License-Identifier: Apache-2.0
"""A tree that is paused by the freezer of its control group, of version 1 or 2, is saved
without executing a step, left paused, and comes back paused. Then it goes on."""
import os
import shutil
import struct
import sys

import jobs
import crtest
import groups
from crtest import Failure
from groups import V1, Group


class Paused:
    """The counting target in the groups of a layout."""

    def __init__(self, crcore, program, hierarchy, what):
        self.label = f"version {1 if hierarchy == V1 else 2}, {what}"
        self.h = hierarchy
        self.top = os.path.join(crtest.scratch(), f"{hierarchy}-{what}")
        os.mkdir(self.top)
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore, self.top)
        work = os.path.join(self.top, "work")
        self.target = crtest.Target([program, work], work).ready()
        self.top_groups = groups.left()
        self.group = Group(hierarchy, "a").make()
        self.inner = [Group(hierarchy, x).make() for x in ("a/b", "a/b/c", "a/d")]
        self.all = [self.group, *self.inner]
        getattr(self, what)()
        self.states = [g.own() for g in self.all]

    def tree(self):
        return crtest.snapshot.tree(self.target.pid)

    # The layouts.

    def own(self):
        """One group, frozen."""
        self.group.add(*self.tree())
        self.group.freeze()

    def parent(self):
        """Frozen by a group two above."""
        self.inner[1].add(*self.tree())
        self.group.freeze()

    def nested(self):
        """Frozen by a parent and by itself."""
        self.inner[1].add(*self.tree())
        self.inner[1].freeze()
        self.group.freeze()

    def spread(self):
        """Each process in a group of its own: frozen, frozen by a parent, running."""
        for pid, group in zip(self.tree(), (self.group, self.inner[1], self.inner[2])):
            group.add(pid)
        self.inner[0].freeze()
        self.inner[2].freeze()

    # What must hold.

    def counters(self):
        with open(self.target.path("count"), "rb") as f:
            return struct.unpack("9Q", f.read(72))

    def paused(self):
        """Counters of processes that are frozen."""
        ret = []
        for i, pid in enumerate(self.tree()):
            with open(f"/proc/{pid}/cgroup") as f:
                lines = [x.strip().split(":", 2) for x in f]
            key = "freezer" if self.h == V1 else ""
            path = next(x[2] for x in lines if key in x[1].split(","))
            if any(g.frozen() for g in self.all if g.inner == path):
                ret += self.counters()[3 * i:3 * i + 3]
        return ret

    def check(self, when, counted=None):
        states = [g.own() for g in self.all]
        if states != self.states:
            raise Failure(f"{self.label}: {when}: frozen {states}, before {self.states}")
        now = self.paused()
        if not now:
            raise Failure(f"{self.label}: {when}: nothing is frozen")
        if counted is not None and now != counted:
            raise Failure(f"{self.label}: {when}: counters {now}, before {counted}")
        return now

    def moves(self, when):
        for g in self.all:
            g.thaw()
        for i, before in enumerate(self.counters()):
            crtest.wait_for(f"counter {i} to move {when}", 30, lambda: self.counters()[i] > before)

    def failures(self, counted):
        """A dump that fails in a task's program, and a restore that does at its very end."""
        if os.environ.get("CRCORE_TEST_FAULTS") != "1":
            return
        for n in (1, 9):
            rc, _, err = self.crcore.run("dump", "-t", self.target.pid, "-D", self.image(f"no-{n}"),
                                         env={"CRCORE_FAIL_OP": f"#{n}"})
            if not rc:
                raise Failure(f"{self.label}: a dump that must fail did not: {err}")
            self.check("after a dump that failed", counted)

    def image(self, name):
        return os.path.join(self.top, name)

    def run(self, anew):
        t = self.target
        counted = self.check("before")
        self.crcore.dump(t.pid, self.image("left"), "-R")
        self.check("after dump -R", counted)
        self.failures(counted)
        self.crcore.dump(t.pid, self.image("last"))
        t.killed()
        if [g.own() for g in self.all] != self.states:
            raise Failure(f"{self.label}: groups are not as they were after the dump")
        if anew:
            for g in reversed(self.all):
                g.remove()
        rc, _, _ = self.crcore.run("restore", "-D", self.image("last"), "-d", "--pidfile", self.top)
        if not rc or [g.own() for g in self.all if os.path.exists(g.path)] not in ([], self.states):
            raise Failure(f"{self.label}: groups are not as they were after a restore that failed")
        if self.crcore.restore_detached(self.image("last")) != t.pid:
            raise Failure(f"{self.label}: another pid after the restore")
        for g in self.all: # a sibling of the tree's groups is not of the tree
            g.make()
        self.check("after the restore", counted)
        self.crcore.dump(t.pid, self.image("again"), "-R")
        self.check("after dump -R of the restored tree", counted)
        self.moves("after the restore")
        self.finish()

    def finish(self):
        t = self.target
        open(t.path("go"), "w").close()
        crtest.wait_gone(t.pid)
        if t.read("result").strip() != "pass":
            raise Failure(f"{self.label}: {t.read('result')}\n{t.read('stderr')}")
        for g in reversed(self.all):
            g.remove()
        shutil.rmtree(self.top)
        if groups.left() != self.top_groups:
            raise Failure(f"{self.label}: groups left: {groups.left()}")
        print(f"{self.label}: passed", flush=True)


def main(crcore, program):
    def paused(hierarchy):
        for i, what in enumerate(("own", "parent", "nested", "spread", "spread", "own")):
            Paused(crcore, program, hierarchy, what).run(anew=i % 2)

    groups.each(paused)


jobs.run(main)
