# SPDX-License-Identifier: Apache-2.0
"""Much memory, which crcore puts into place block by block: damage anywhere in it is found and
named, with nothing left of the tree; mappings and descriptors are as they were, and nothing
watches the memory any more; huge pages come as huge pages; a task that is killed meanwhile is said
to be; so it is too where no userfaultfd can be had, with nothing checked, and packed."""
import os
import re
import shutil
import signal
import sys
import time
import jobs
import crtest
from crtest import Failure

# Refuses userfaultfd(2), then becomes another program.
WITHOUT_UFFD = sys.executable, "-c", crtest.REFUSES.replace("BPF, EPERM = 321", "BPF, EPERM = 323")

# 24 MiB in small pages and 24 MiB in huge ones, mappings of which some are locked or read-only.
PROGRAM = """
import ctypes, mmap, os, time
libc = ctypes.CDLL(None, use_errno=True)
MIB = 1 << 20
def make(advice, size=24 * MIB):
    m = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    m.madvise(advice)
    for i in range(0, size, 4096):
        m[i:i + 4096] = i.to_bytes(8, "little") * 512
    return m
def at(m):
    return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(m)))
v = [make(mmap.MADV_NOHUGEPAGE), make(mmap.MADV_HUGEPAGE), make(mmap.MADV_NOHUGEPAGE, 6 * MIB)]
READ_ONLY = MIB, 4 * 4096
one = [make(mmap.MADV_NOHUGEPAGE, 8 * MIB) for n in READ_ONLY]
for m, n in zip(one, READ_ONLY):
    libc.mprotect(at(m), n, mmap.PROT_READ)
libc.mprotect(at(v[0]), MIB, mmap.PROT_READ)
libc.mlock(at(v[2]), MIB)
open("ready", "w").write("ready")
while not os.path.exists("go"):
    time.sleep(0.02)
ok = all(m[i:i + 4096] == i.to_bytes(8, "little") * 512
         for m in v + one for i in range(0, len(m), 4096))
# What was one mapping is one to the kernel.
libc.mremap.restype = ctypes.c_void_p
moved = libc.mremap(ctypes.c_void_p(at(v[0]).value + MIB), 23 * MIB, 46 * MIB, 1)
ok = ok and moved not in (None, 2 ** 64 - 1)
# What becomes one mapping again is one to it, too.
for m, n in zip(one, READ_ONLY):
    libc.mprotect(at(m), n, mmap.PROT_READ | mmap.PROT_WRITE)
    moved = libc.mremap(at(m), 8 * MIB, 16 * MIB, 1)
    ok = ok and moved not in (None, 2 ** 64 - 1)
open("result", "w").write("pass" if ok else "differs")
"""


def looks(pid):
    """Its mappings and their flags, its descriptors; MiB in huge pages."""
    with open(f"/proc/{pid}/smaps") as f:
        text = f.read()
    maps = re.findall(r"^([0-9a-f]+-[0-9a-f]+ \S+)", text, re.M)
    flags = [x.split() for x in re.findall(r"^VmFlags: (.*)", text, re.M)]
    huge = sum(int(x) for x in re.findall(r"^AnonHugePages: +(\d+)", text, re.M)) >> 10
    return list(zip(maps, flags)), sorted(os.listdir(f"/proc/{pid}/fd")), huge


def resident(pid):
    """MiB that it has; 0: it is not there."""
    try:
        with open(f"/proc/{pid}/statm") as f:
            return int(f.read().split()[1]) >> 8
    except (OSError, IndexError):
        return 0


class Test:
    def __init__(self, crcore_path, *dump):
        self.top = os.path.join(crtest.scratch(), "".join(("feed", *dump)))
        os.mkdir(self.top)
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        work = os.path.join(self.top, "work")
        self.t = crtest.Target([jobs.python(), "-c", f"import os; os.chdir('{work}')\n" + PROGRAM],
                               work).ready()
        self.before = looks(self.t.pid)
        self.image = os.path.join(self.top, "image")
        self.crcore.dump(self.t.pid, self.image, *dump)
        self.t.killed()

    def damaged(self, at):
        """One bit is changed at that part of the largest page file."""
        name = max(crtest.page_files(self.image), key=os.path.getsize)
        with open(name, "r+b") as f:
            f.seek(int(at * (os.path.getsize(name) - 1)))
            byte = f.read(1)
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte[0] ^ 16]))
            f.flush()
            before = set(crtest.pids())
            rc, _, err = self.crcore.run("restore", "-d", "-D", self.image)
            f.seek(-1, os.SEEK_CUR)
            f.write(byte)
        if rc <= 0 or len(err.splitlines()) != 1 or "checksum of the bytes from" not in err or \
                os.path.basename(name) not in err:
            raise Failure(f"damaged at {at} of {name}: status {rc}: {err}")
        crtest.wait_for("the end of what was begun", crtest.LIMIT,
                        lambda: not set(crtest.pids()) - before)

    def restored(self, *args, through=()):
        """It looks as it did; then it is ended."""
        self.crcore.through = through
        self.crcore.restore_detached(self.image, *args)
        self.crcore.through = ()
        after = looks(self.t.pid)
        if after[:2] != self.before[:2]:
            raise Failure(f"{args}: was\n{self.before}\nis\n{after}")
        if after[2] < self.before[2] * 0.9:
            raise Failure(f"{args}: {self.before[2]} MiB were in huge pages, {after[2]} are")

    def killed(self):
        """One that is killed while it is built is said to be. It may be further by then."""
        for _ in range(50):
            p = self.crcore.start("restore", "-d", "-D", self.image)
            end = time.monotonic() + crtest.LIMIT
            while resident(self.t.pid) < 16 and p.poll() is None and time.monotonic() < end:
                pass
            if p.poll() is None and os.path.exists(f"/proc/{self.t.pid}"):
                os.kill(self.t.pid, signal.SIGKILL)
            rc, _, err = self.crcore.finish(p)
            if rc > 0 and len(err.splitlines()) == 1 and "was killed while the tree was built" in err:
                return
            if rc and "cannot write" in err:
                break
            self.end()
        raise Failure(f"killed: status {rc}: {err}")

    def end(self):
        if os.path.exists(f"/proc/{self.t.pid}"):
            os.kill(self.t.pid, signal.SIGKILL)
        crtest.wait_for("its end", crtest.LIMIT, lambda: not os.path.exists(f"/proc/{self.t.pid}"))

    def run(self):
        for at in 0, 0.37, 0.5, 0.93, 1:
            self.damaged(at)
        self.killed()
        self.restored(through=WITHOUT_UFFD)
        self.end()
        self.restored("--set", "restore.verify=no")
        self.end()
        self.restored()
        with open(self.t.path("go"), "w"):
            pass
        crtest.wait_gone(self.t.pid)
        if self.t.read("result").strip() != "pass":
            raise Failure(f"{self.top}: {self.t.read('result')}{self.t.read('stderr')}")
        shutil.rmtree(self.image)


def main(crcore):
    for dump in [], ["--compress"]:
        Test(crcore, *dump).run()


jobs.run(main)
