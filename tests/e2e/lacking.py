# SPDX-License-Identifier: Apache-2.0
"""What crcore or the kernel lacks, and what can be done without it."""
import os
import shutil
import jobs
import crtest
from crtest import Failure

IDLE = """
import os, signal, sys
for user in map(int, sys.argv[1:]):
    if os.fork() == 0:
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        signal.pause()
open("ready", "w").write("x")
signal.pause()
"""
# As on a kernel without POSIX message queues: fsopen(2) ends with ENODEV.
NO_QUEUES = """
import ctypes, os, struct, sys
code = struct.pack("HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, 430, 6, 0, 0, 0x50013, 6, 0, 0, 0x7fff0000)
code = ctypes.create_string_buffer(code)
prog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(code)))
if ctypes.CDLL(None).syscall(317, 1, 0, prog):
    sys.exit("no filter")
os.execv(sys.argv[1], sys.argv[1:])
"""


class Test:
    def __init__(self, crcore_path):
        self.top = crtest.scratch()
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.count = 0

    def target(self, *users, without=""):
        self.count += 1
        work = os.path.join(self.top, f"work-{self.count}")
        os.mkdir(work)
        argv = ["setpriv", f"--bounding-set={without}"] if without else []
        argv += [jobs.python(), "-c", IDLE, *map(str, users)]
        return crtest.Target(argv, work, cwd=work).ready()

    def dump(self, pid, through, *args):
        image = os.path.join(self.top, f"image-{self.count}")
        shutil.rmtree(image, ignore_errors=True)
        self.crcore.through = through
        self.crcore.dump(pid, image, *args)
        self.crcore.through = ()
        return image

    def restored(self, target, image, through=()):
        target.killed()
        self.crcore.through = through
        pid = self.crcore.restore_detached(image)
        self.crcore.through = ()
        with open(f"/proc/{pid}/status") as f:
            status = f.read()
        os.kill(pid, 9)
        crtest.wait_gone(pid)
        return status

    def groups(self):
        """Who does not change groups needs no right to."""
        t = self.target(without="-setgid,-net_raw")
        with open(f"/proc/{t.pid}/status") as f:
            before = f.read()
        after = self.restored(t, self.dump(t.pid, ()), ["setpriv", "--bounding-set=-setgid"])
        for key in ("CapPrm", "CapBnd", "Groups", "Gid"):
            a, b = ([x for x in s.splitlines() if x.startswith(key)] for s in (before, after))
            if a != b:
                raise Failure(f"{a} is {b}")

    def warned(self):
        """One line for all users of whom it cannot be told whether Landlock confines them."""
        t = self.target(1001, 1002, 1003)
        self.dump(t.pid, ["setpriv", "--bounding-set=-setuid"], "-R")
        with open(self.crcore.log) as f:
            lines = [x for x in f if "Landlock" in x]
        if len(lines) != 1 or "nor with 2 others" not in lines[0]:
            raise Failure(f"{lines}")
        os.killpg(t.pid, 9)
        t.wait()

    def queues(self):
        """A kernel without message queues has none that would have to be listed."""
        t = self.target()
        self.restored(t, self.dump(t.pid, [jobs.python(), "-c", NO_QUEUES]))

    def run(self):
        for step in (self.groups, self.warned, self.queues):
            step()
            print(f"{step.__name__}: passed", flush=True)


jobs.run(lambda path: Test(path).run())
