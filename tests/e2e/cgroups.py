# SPDX-License-Identifier: Apache-2.0
"""Control groups come back: members (threads too), settings of each controller, owners and
modes; elsewhere with --cgroup-root; as --manage-cgroups wants it. A restore that fails, at its
beginning or at its very end, leaves no group."""
import os
import shutil
import signal

import jobs
import crtest
import groups
from crtest import Failure
from groups import V1, V2, Group

# What is set in a group of each hierarchy of version 1, in an order that the kernel accepts.
SETTINGS = {
    "cpu": [("cpu.shares", "512"), ("cpu.cfs_period_us", "50000"), ("cpu.cfs_quota_us", "40000"),
            ("notify_on_release", "1")],
    "cpuset": [("cpuset.cpus", "0"), ("cpuset.mems", "0"), ("cpuset.memory_migrate", "1"),
               ("cgroup.clone_children", "1")],
    "memory": [("memory.limit_in_bytes", str(512 << 20)), ("memory.swappiness", "10"),
               ("memory.soft_limit_in_bytes", str(256 << 20)), ("memory.oom_control", "1")],
    "pids": [("pids.max", "123")],
    "devices": [("devices.deny", "a"), ("devices.allow", "c 1:3 rwm"), ("devices.allow", "c 1:5 r")],
    "net_cls": [("net_cls.classid", "65537")],
    "net_prio": [("net_prio.ifpriomap", "lo 5")],
    "hugetlb": [("hugetlb.2MB.limit_in_bytes", str(4 << 20))],
    "blkio": [("blkio.throttle.read_bps_device", None)],
    "freezer": [],
}


def disk():
    """A device that can be throttled, as major:minor."""
    for name in sorted(os.listdir("/sys/block")):
        with open(f"/sys/block/{name}/dev") as f:
            return f.read().strip()
    return None


class Groups:
    def __init__(self, crcore, program):
        self.top = os.path.join(crtest.scratch(), "all")
        os.mkdir(self.top)
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore, self.top)
        work = os.path.join(self.top, "work")
        self.target = crtest.Target([program, work], work).ready()
        self.before = groups.left()
        self.pids = crtest.snapshot.tree(self.target.pid)
        self.all = []
        self.tested = []
        for name, settings in SETTINGS.items():
            if os.path.isdir(groups.top(name)):
                self.version1(name, settings)
        if os.path.isdir(os.path.join(groups.TOP, V2)):
            self.version2()
        if not self.all:
            raise crtest.Skip("no control groups")

    def group(self, hierarchy, path):
        g = Group(hierarchy, path)
        if not os.path.isdir(g.path):
            g.make()
            self.all.append(g)
        return g

    def version1(self, name, settings):
        """The root in a group, one thread of it in one below, a child in another."""
        try:
            up = self.group(name, "up")
        except OSError:
            return
        a, b = self.group(name, "up/a"), self.group(name, "up/b")
        if name == "cpuset":
            for g in (Group(name), up, a, b):
                g.write("cpuset.cpus", Group(name, "..").read("cpuset.cpus"))
                g.write("cpuset.mems", "0")
            settings = [x for x in settings if x[0] != "cpuset.cpus"]
        for file, value in settings:
            if value is None:
                value = f"{disk()} 1048576"
            if not os.path.exists(os.path.join(a.path, file)):
                continue
            try:
                a.write(file, value)
                self.tested.append(file)
            except OSError as e: # not with this kernel
                self.tested.append(f"(not {file}: {e.strerror})")
        t = self.group(name, "up/a/thread")
        if name == "cpuset" and not t.read("cpuset.mems"):
            t.write("cpuset.cpus", a.read("cpuset.cpus"))
            t.write("cpuset.mems", "0")
        os.chmod(b.path, 0o750)
        os.chown(b.path, 1234, 4321)
        os.chown(os.path.join(b.path, "tasks"), 1234, 4321)
        os.chmod(os.path.join(b.path, "cgroup.procs"), 0o664)
        a.add(*self.pids)
        b.add(self.pids[1])
        t.add_thread(self.threads(self.pids[0])[1])

    def version2(self):
        d, e = self.group(V2, "up"), self.group(V2, "up/deep")
        d.write("cgroup.max.depth", 7)
        d.write("cgroup.max.descendants", 55)
        e.add(*self.pids[1:])
        x, y = self.group(V2, "up/x"), self.group(V2, "up/x/threads")
        x.add(self.pids[0])
        y.write("cgroup.type", "threaded")
        y.add_thread(self.threads(self.pids[0])[2])
        self.tested += ["cgroup.type", "cgroup.max.depth"]

    def threads(self, pid):
        return sorted(int(x) for x in os.listdir(f"/proc/{pid}/task"))

    def members(self):
        ret = {}
        for pid in self.pids:
            for tid in self.threads(pid):
                with open(f"/proc/{pid}/task/{tid}/cgroup") as f:
                    ret[tid] = sorted(f.read().splitlines())
        return ret

    def state(self):
        """All that can be read of the groups, but counters."""
        ret = {}
        for g in self.all:
            st = os.stat(g.path)
            ret[g.path] = (st.st_mode, st.st_uid, st.st_gid)
            for file in sorted(os.listdir(g.path)):
                path = os.path.join(g.path, file)
                if os.path.isdir(path):
                    continue
                st = os.stat(path)
                ret[path] = [st.st_mode, st.st_uid, st.st_gid]
                if self.is_setting(file):
                    ret[path].append(g.read(file))
        return ret

    @staticmethod
    def is_setting(file):
        if file in ("notify_on_release", "cgroup.clone_children", "cgroup.type", "cgroup.max.depth",
                    "cgroup.max.descendants", "devices.list", "pids.max", "net_cls.classid",
                    "cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpuset.cpus",
                    "cpuset.mems", "cpuset.memory_migrate", "memory.swappiness",
                    "memory.limit_in_bytes", "memory.soft_limit_in_bytes",
                    "blkio.throttle.read_bps_device", "net_prio.ifpriomap",
                    "hugetlb.2MB.limit_in_bytes"):
            return True
        return False

    def expect(self, what, now, before):
        if now == before:
            return
        lines = [f"{k}: {now.get(k)}, before {before.get(k)}" for k in {**before, **now}
                 if now.get(k) != before.get(k)]
        raise Failure(f"{what}:\n  " + "\n  ".join(lines[:20]))

    def remove(self):
        for g in reversed(self.all):
            g.remove()
        if groups.left() != self.before:
            for h in sorted(groups.left(), reverse=True):
                if h not in self.before:
                    os.rmdir(h)

    def change(self):
        """A setting that the image has otherwise."""
        if os.path.isdir(os.path.join(groups.TOP, "pids")):
            Group("pids", "up/a").write("pids.max", 77)

    def fails(self, image, what, *args):
        rc, _, err = self.crcore.run("restore", "-D", image, "-d", *args)
        if not rc:
            raise Failure(f"a restore that must fail ({what}) did not")
        crtest.wait_for("crcore to be gone", 20, lambda: not crtest.running(self.crcore.path))
        if groups.left() != self.before:
            raise Failure(f"a restore that failed ({what}) left groups: {groups.left()}")
        return err

    def run(self):
        t = self.target
        members, state = self.members(), self.state()
        image = os.path.join(self.top, "image")
        self.crcore.dump(t.pid, image)
        t.killed()
        self.remove()
        self.fails(image, "in the middle", "--set", "restore.timeout=1us")
        self.fails(image, "at the very end", "--pidfile", self.top)
        for mode in ("none", "props"):
            if "does not exist" not in self.fails(image, mode, f"--manage-cgroups={mode}"):
                raise Failure(f"--manage-cgroups={mode} does not say what is missing")
        self.crcore.restore_detached(image)
        self.expect("members after the restore", self.members(), members)
        self.expect("groups after the restore", self.state(), state)
        # Once more: what is there is taken as it is, or refused.
        image = os.path.join(self.top, "again")
        self.crcore.dump(t.pid, image)
        crtest.wait_gone(t.pid)
        rc, _, err = self.crcore.run("restore", "-D", image, "-d", "--manage-cgroups=strict")
        if not rc or "exists already" not in err:
            raise Failure(f"--manage-cgroups=strict took a group that exists: {rc} {err}")
        for mode in ("full", "props", "soft", "none"):
            keeps = mode in ("soft", "none")  # what is there, as it is
            self.change()
            changed = self.state()
            self.crcore.restore_detached(image, f"--manage-cgroups={mode}")
            self.expect(f"members as {mode}", self.members(), members)
            self.expect(f"groups as {mode}", self.state(), changed if keeps else state)
            image = os.path.join(self.top, mode)
            self.crcore.dump(t.pid, image)
            crtest.wait_gone(t.pid)
        # Elsewhere, and nowhere.
        self.remove()
        self.crcore.restore_detached(image, "--cgroup-root", f"/{groups.name()}/else/where")
        moved = {k: [x.replace("/up", "/else/where") for x in v] for k, v in members.items()}
        self.expect("members elsewhere", self.members(), moved)
        image = os.path.join(self.top, "nowhere")
        self.crcore.dump(t.pid, image)
        crtest.wait_gone(t.pid)
        for path in sorted(groups.left(), reverse=True):
            if path not in self.before:
                os.rmdir(path)
        self.crcore.restore_detached(image, "--manage-cgroups=ignore")
        if groups.left() != self.before:
            raise Failure(f"--manage-cgroups=ignore made groups: {groups.left()}")
        open(t.path("go"), "w").close()
        crtest.wait_gone(t.pid)
        if t.read("result").strip() != "pass":
            raise Failure(f"{t.read('result')}\n{t.read('stderr')}")
        shutil.rmtree(self.top)
        print(f"passed; set: {' '.join(self.tested)}", flush=True)


def main(crcore, program):
    groups.need(V1)
    for name in os.listdir(groups.TOP): # all of the test's groups are below these
        try:
            os.makedirs(os.path.join(groups.TOP, name, groups.name()), exist_ok=True)
        except OSError:
            pass
    for name in SETTINGS:
        if not os.path.isdir(os.path.join(groups.TOP, name)) and groups.mount(name):
            os.mkdir(Group(name).path)
    try:
        Groups(crcore, program).run()
    finally:
        for pid in (x for x in crtest.pids() if x not in (1, os.getpid())):
            os.kill(pid, signal.SIGKILL)
            crtest.wait_gone(pid)
        groups.unmount()


jobs.run(main)
