# SPDX-License-Identifier: Apache-2.0
"""A tree in mount, IPC and control group namespaces of its own, which a holder keeps alive, is
paused, saved from outside, and restored into them (--join-ns), paused."""
import os
import shutil
import struct
import subprocess

import jobs
import crtest
import groups
from crtest import Failure
from groups import V1, Group

NAMES = ("mnt", "ipc", "cgroup")


class Container:
    def __init__(self, crcore_path, program, hierarchy):
        self.label = f"version {1 if hierarchy == V1 else 2}"
        self.top = os.path.join(crtest.scratch(), hierarchy)
        os.mkdir(self.top)
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.program = os.path.abspath(program)
        self.group = Group(hierarchy, "container").make()
        # The holder makes them, in the group, and a file system that nobody else sees.
        self.inner = os.path.join(self.top, "inner")
        os.mkdir(self.inner)
        script = (f'echo $$ > "{self.group.path}/cgroup.procs" && exec unshare -m -i -C sh -c '
                  f'\'mount -t tmpfs none "{self.inner}" && : > "{self.top}/up" && exec sleep 600\'')
        self.holder = subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL,
                                       start_new_session=True)
        crtest.wait_for("the holder", crtest.LIMIT,
                        lambda: os.path.exists(os.path.join(self.top, "up"))
                        or self.holder.poll() is not None)
        if self.holder.poll() is not None:
            raise crtest.Skip("no namespaces to be had")
        with open(f"{Group(hierarchy).path}/cgroup.procs", "w") as f:
            f.write(str(self.holder.pid)) # it is not to be frozen

    def ns(self, pid):
        return [os.readlink(f"/proc/{pid}/ns/{x}") for x in NAMES]

    def inside(self, name):
        return f"/proc/{self.holder.pid}/root{self.inner}/work/{name}"

    def read(self, name):
        try:
            with open(self.inside(name)) as f:
                return f.read()
        except OSError:
            return ""

    def counters(self):
        with open(self.inside("count"), "rb") as f:
            return struct.unpack("9Q", f.read(72))

    def start(self):
        argv = ["nsenter", "-t", str(self.holder.pid), "-m", "-i", "-C", "--", "sh", "-c",
                'mkdir -p "$1" && cd "$1" && exec "$0" "$1" </dev/null >"$1/stdout" 2>"$1/stderr"', self.program,
                os.path.join(self.inner, "work")]
        self.target = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, start_new_session=True)
        crtest.wait_for("the target", crtest.LIMIT,
                        lambda: self.read("ready") or self.target.poll() is not None)
        if self.target.poll() is not None:
            raise Failure(f"the target ended: {self.read('stderr')}")
        self.group.add(*crtest.snapshot.tree(self.target.pid))

    def run(self):
        self.start()
        pid, image = self.target.pid, os.path.join(self.top, "image")
        if any(a == b for a, b in zip(self.ns(pid), self.ns("self"))):
            raise crtest.Skip("the tree is not in namespaces of its own")
        before = self.ns(pid)
        self.group.freeze()
        counted = self.counters()
        self.crcore.dump(pid, image)
        self.target.wait(timeout=20)
        rc, _, err = self.crcore.run("restore", "-D", image, "-d")
        if not rc or "--join-ns" not in err:
            raise Failure(f"restored without the namespaces: {rc} {err}")
        bound = os.path.join(self.top, "bound")
        open(bound, "w").close()
        subprocess.run(["mount", "--bind", f"/proc/{self.holder.pid}/ns/ipc", bound], check=True)
        join = ["--join-ns", bound]
        for x in ("mnt", "cgroup"):
            join += ["--join-ns", f"/proc/{self.holder.pid}/ns/{x}"]
        got = self.crcore.restore_detached(image, *join)
        subprocess.run(["umount", bound], check=True)
        if got != pid or self.ns(pid) != before:
            raise Failure(f"{self.label}: pid {got}, namespaces {self.ns(pid)}, before {before}")
        if not self.group.frozen() or self.counters() != counted:
            raise Failure(f"{self.label}: it ran: {counted}, now {self.counters()}")
        self.group.thaw()
        crtest.wait_for("it to go on", 30, lambda: self.counters()[8] > counted[8])
        open(self.inside("go"), "w").close()
        crtest.wait_gone(pid)
        if self.read("result").strip() != "pass":
            raise Failure(f"{self.label}: {self.read('result')}\n{self.read('stderr')}")
        self.holder.kill()
        self.holder.wait()
        self.group.remove()
        shutil.rmtree(self.top)
        print(f"{self.label}: passed", flush=True)


def main(crcore, program):
    groups.each(lambda hierarchy: Container(crcore, program, hierarchy).run())


jobs.run(main)
