# SPDX-License-Identifier: Apache-2.0
"""kill -9 of crcore at random moments of the restore of a tree with IPC objects, in control
groups that are gone, one of them frozen: all of it is there afterwards, or nothing, be it
process, object, name or group. CRCORE_TEST_KILLS is how often, for each program (15)."""
import os
import subprocess
import jobs
import crtest
import groups
from groups import V1, V2, Group
from restore_kills import Kills

SORTS = {"shm": "-m", "sem": "-s", "msg": "-q"}


class Objects(Kills):
    kills = int(os.environ.get("CRCORE_TEST_KILLS", "6" if jobs.SHORT else "15"))
    groups = ()
    dump_args = ("--set", "ipc.notify=zero", "--set", "ipc.scope=all")
    frozen = None

    def join(self, frozen):
        """The tree, which is new, into groups of its own."""
        self.groups = [Group(h, "kr").make() for h in (V1, V2)]
        for g in self.groups:
            g.add(*crtest.snapshot.tree(self.target.pid))
        if frozen:
            self.frozen = self.groups[0]
            self.frozen.freeze()

    @staticmethod
    def ipc():
        ret = []
        for sort in SORTS:
            with open(f"/proc/sysvipc/{sort}") as f:
                ret += [(sort, line.split()[1]) for line in f.readlines()[1:]]
        for folder in ("/dev/shm", "/dev/mqueue"):
            ret += [os.path.join(folder, x) for x in os.listdir(folder)]
        return ret

    def objects(self):
        return self.ipc() + [g.path for g in self.groups if os.path.exists(g.path)]

    def tidy(self):
        for x in self.ipc():
            if isinstance(x, str):
                os.unlink(x)
            else:
                subprocess.run(["ipcrm", SORTS[x[0]], x[1]], check=True)
        for g in self.groups:
            g.remove()

    def go_on(self):
        for g in self.groups:
            if g.pids() != sorted(crtest.snapshot.tree(self.target.pid)):
                raise crtest.Failure(f"the tree is not in {g.path}: {g.pids()}")
        if self.frozen:
            crtest.wait_for("the tree to be frozen", 10, self.frozen.frozen)
            self.frozen.thaw()


def main(crcore, *programs):
    for h in (V1, V2):
        groups.need(h)
    # Of the test alone, as its IPC namespace is.
    for kind, folder in (("tmpfs", "/dev/shm"), ("mqueue", "/dev/mqueue")):
        os.makedirs(folder, exist_ok=True)
        subprocess.run(["mount", "-t", kind, "none", folder], check=True)
    for i, program in enumerate(programs):
        k = Objects(crcore, program)
        k.join(frozen=i == 0)
        k.run()
        k.tidy()


jobs.run(main)
