# SPDX-License-Identifier: Apache-2.0
"""Control groups of a test, version 1 and version 2. All are below one that has the name of
the test's scratch folder: isolate removes them whatever happens."""
import os
import subprocess
import time

import crtest

V1, V2 = "freezer", "unified"
TOP = "/sys/fs/cgroup"
mounted = {}  # hierarchies of version 1 that mount() has made: where


def name():
    return os.path.basename(crtest.scratch())


def top(hierarchy):
    return mounted.get(hierarchy) or os.path.join(TOP, hierarchy)


def mount(controller):
    """A hierarchy of a controller that nobody uses, in the test's own mount namespace. Its
    groups are not isolate's to remove: unmount() must. False: the kernel lacks it."""
    path = os.path.join(crtest.scratch(), controller)
    os.mkdir(path)
    if subprocess.run(["mount", "-t", "cgroup", "-o", controller, "none", path],
                      stderr=subprocess.DEVNULL, check=False).returncode:
        os.rmdir(path)
        return False
    mounted[controller] = path
    return True


def count(controller):
    """How many groups its hierarchy has, those among them that are being removed."""
    with open("/proc/cgroups") as f:
        return next(int(x.split()[2]) for x in f if x.split()[0] == controller)


def unmount():
    for controller in list(mounted):
        Group(controller).remove()
        # With groups left, be it for a moment, the kernel would keep the hierarchy.
        crtest.wait_for(f"the groups of {controller} to be gone", 20,
                        lambda: count(controller) == 1)
        subprocess.run(["umount", mounted[controller]], check=True)
        os.rmdir(mounted.pop(controller))


def need(hierarchy):
    """Skips the test where a hierarchy is not there, or not ours to use."""
    path = os.path.join(TOP, hierarchy, name())
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as e:
        raise crtest.Skip(f"no control groups in {TOP}/{hierarchy}: {e.strerror}") from None


def each(run):
    """Calls run with each freezer that is there. Skips the test if there is none."""
    ran = 0
    for hierarchy in (V1, V2):
        try:
            need(hierarchy)
        except crtest.Skip as e:
            print(f"skipped: {e}", flush=True)
            continue
        run(hierarchy)
        ran += 1
    if not ran:
        raise crtest.Skip("no freezer at all")


class Group:
    def __init__(self, hierarchy, path=""):
        self.hierarchy = hierarchy
        self.inner = "/".join(x for x in ("", name(), path) if x)
        self.inner = "/" + self.inner.lstrip("/")
        self.path = top(hierarchy) + self.inner

    def make(self):
        os.makedirs(self.path, exist_ok=True)
        return self

    def read(self, file):
        with open(os.path.join(self.path, file)) as f:
            return f.read().strip()

    def write(self, file, text):
        with open(os.path.join(self.path, file), "w") as f:
            f.write(str(text))

    def add(self, *pids):
        for pid in pids:
            self.write("cgroup.procs", pid)

    def add_thread(self, tid):
        self.write("tasks" if self.hierarchy != V2 else "cgroup.threads", tid)

    def pids(self):
        return sorted(int(x) for x in self.read("cgroup.procs").split())

    def freeze(self, on=True):
        if self.hierarchy == V2:
            self.write("cgroup.freeze", int(on))
        else:
            self.write("freezer.state", "FROZEN" if on else "THAWED")
        if on:
            crtest.wait_for(f"{self.path} to be frozen", 20, lambda: self.frozen() and self.still())

    def thaw(self):
        self.freeze(False)

    def frozen(self):
        """Whether its tasks are, by its own state or by a parent's."""
        if self.hierarchy == V2:
            return "frozen 1" in self.read("cgroup.events")
        return self.read("freezer.state") == "FROZEN"

    def still(self):
        """Version 2 calls a group with groups below it frozen before its own tasks are."""
        for path, _, _ in os.walk(self.path):
            with open(os.path.join(path, "cgroup.procs")) as f:
                pids = f.read().split()
            for pid in pids:
                for tid in os.listdir(f"/proc/{pid}/task"):
                    if crtest.snapshot.stat_fields(f"/proc/{pid}/task/{tid}/stat")["state"] == "R":
                        return False
        return True

    def own(self):
        """Its own state."""
        file = "cgroup.freeze" if self.hierarchy == V2 else "freezer.self_freezing"
        return self.read(file) == "1"

    def remove(self):
        """It and all below it."""
        for path, _, _ in sorted(os.walk(self.path), reverse=True):
            end = time.monotonic() + 5
            while True:
                try:
                    os.rmdir(path)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.01)


def left():
    """Groups of this test that exist, in any hierarchy."""
    ret = []
    for h in [*os.listdir(TOP), *mounted]:
        ret += [path for path, _, _ in os.walk(os.path.join(top(h), name()))]
    return sorted(ret)


def while_paused(root, hierarchy, what):
    """Calls what() while the tree is frozen in a group of its own, which must be so afterwards;
    then it goes on. Where there is no such hierarchy it is called as it is."""
    try:
        need(hierarchy)
    except crtest.Skip:
        what()
        return
    group = Group(hierarchy, "paused").make()

    def all_there():
        inside = group.pids()
        for pid in crtest.snapshot.tree(root):
            if pid not in inside:
                try:
                    group.add(pid)
                except ProcessLookupError:
                    pass
                inside = None
                break
        return inside

    crtest.wait_for("the tree to be in its group", crtest.LIMIT, all_there)
    group.freeze()
    try:
        what()
        if not (group.own() and group.frozen()):
            raise crtest.Failure(f"{group.path} is not frozen")
        if set(crtest.snapshot.tree(root)) - set(group.pids()):
            raise crtest.Failure(f"not all of the tree is in {group.path}")
    finally:
        group.thaw()
