# SPDX-License-Identifier: Apache-2.0
"""System V objects that others are concerned with: shared with a process outside the tree,
in the way of a restore, left behind by a killed tree; and a restore that fails, which leaves
nothing. Limits of the namespace."""
import ctypes
import os
import subprocess
import time
import jobs
import crtest
from crtest import Failure

HOLDER = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
CREAT = 0o1000 | 0o2000
shm = libc.shmget(0x1111, 1 << 20, CREAT | 0o600)
sem = libc.semget(0x2222, 2, CREAT | 0o600)
msg = libc.msgget(0x3333, CREAT | 0o600)
p = libc.shmat(shm, None, 0)
ctypes.memset(p, 65, 1 << 20)
libc.semctl(sem, 0, 16, 7)
libc.msgsnd(msg, ctypes.create_string_buffer(b"\\1\\0\\0\\0\\0\\0\\0\\0hello"), 5, 0)
open("ready", "w").write(f"{shm} {sem} {msg}")
while not os.path.exists("go"):
    time.sleep(0.01)
with open("result.new", "w") as f:
    f.write(ctypes.string_at(p, 3).decode() + str(libc.semctl(sem, 0, 12)))
os.rename("result.new", "result")
libc.shmctl(shm, 0, None), libc.semctl(sem, 0, 0), libc.msgctl(msg, 0, None)
"""
POSIX = """
import mmap, os, time
fd = os.open("/dev/shm/crcore-x", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
os.ftruncate(fd, 4096)
m = mmap.mmap(fd, 4096)
m[:3] = b"old"
open("ready", "w").write("yes")
while not os.path.exists("go"):
    if os.path.exists("change"):
        m[:3] = b"new"
    time.sleep(0.01)
with open("result.new", "w") as f:
    f.write(m[:3].decode())
os.rename("result.new", "result")
os.unlink("/dev/shm/crcore-x")
"""
LARGE = POSIX.replace("4096", "16 << 20").replace(
    "\nopen(", "\nm[4096:] = b'x' * ((16 << 20) - 4096)\nopen(", 1)
OUTSIDE = """
import ctypes, sys, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
p = libc.shmat(int(sys.argv[1]), None, 0)
ctypes.memset(p, 66, 1)
print("attached", flush=True)
sys.stdin.read()
"""
LIBC = ctypes.CDLL(None, use_errno=True)


class Holder:
    def __init__(self, crcore_path, name, program=HOLDER):
        self.top = os.path.join(crtest.scratch(), name)
        self.work = os.path.join(self.top, "work")
        os.makedirs(self.work)
        self.image = os.path.join(self.top, "image")
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.target = crtest.Target([jobs.python(), "-c", program], self.work, cwd=self.work)
        ready = crtest.wait_for("the holder", crtest.LIMIT, lambda: self.target.read("ready"))
        if program == HOLDER:
            self.shm, self.sem, self.msg = map(int, ready.split())

    def refused(self, text, *args):
        rc, _, err = self.crcore.run(*args)
        if not rc or text not in err:
            raise Failure(f"{' '.join(map(str, args))}: status {rc}, not \"{text}\":\n{err}")
        return err

    def end(self, want="AAA7"):
        open(os.path.join(self.work, "go"), "w").close()
        got = crtest.wait_for("the result", crtest.LIMIT, lambda: self.target.read("result"))
        if got != want:
            raise Failure(f"the holder found {got} and not {want}")
        crtest.wait_gone(self.target.pid)
        nothing_left()


def objects():
    return sum(len(open(f"/proc/sysvipc/{x}").readlines()) - 1 for x in ("shm", "sem", "msg"))


def nothing_left():
    if objects():
        raise Failure("objects are left:\n" + "".join(
            open(f"/proc/sysvipc/{x}").read() for x in ("shm", "sem", "msg")))


def failures(crcore_path):
    """Whatever fails, what the restore made is gone."""
    h = Holder(crcore_path, "failures")
    h.crcore.dump(h.target.pid, h.image)
    h.target.killed()
    h.refused("existing: refuse", "restore", "-d", "-D", h.image, "--set", "ipc.existing=refuse")
    LIBC.msgctl(h.msg, 0, None)
    LIBC.semctl(h.sem, 0, 0)
    other = LIBC.semget(0x2222, 1, 0o1600)  # another with its key
    h.refused("its key is in use", "restore", "-d", "-D", h.image)
    LIBC.semctl(other, 0, 0)
    LIBC.shmctl(h.shm, 0, None)
    nothing_left()
    if os.environ.get("CRCORE_TEST_FAULTS") == "1":
        for label in ("ipc: attach segment", "describe memory"):
            rc, _, err = h.crcore.run("restore", "-d", "-D", h.image, env={"CRCORE_FAIL_OP": label})
            if not rc or label not in err:
                raise Failure(f"{label}: status {rc}, {err}")
            nothing_left()
    h.refused("not complete in time", "restore", "-d", "-D", h.image, "--set", "restore.timeout=1ns")
    nothing_left()
    h.crcore.restore_detached(h.image)
    h.end()
    print("in the way: refused; failed: nothing left", flush=True)


def shared(crcore_path):
    h = Holder(crcore_path, "shared")
    o = subprocess.Popen([jobs.python(), "-c", OUTSIDE, str(h.shm)], text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    o.stdout.readline()
    err = h.refused("has it attached too", "dump", "-t", h.target.pid, "-D", h.image)
    if f"process {o.pid}" not in err:
        raise Failure(f"by whom? {err}")
    h.crcore.dump(h.target.pid, h.image, "--set", "ipc.shared=keep")
    h.target.killed()
    h.crcore.restore_detached(h.image)
    o.stdin.close()
    o.wait()
    h.end("BAA7")
    print("shared with others: refused, kept", flush=True)


def posix_memory(crcore_path):
    """What is in shared memory is as it was at the dump, also if it has changed since."""
    path = "/dev/shm/crcore-x"
    h = Holder(crcore_path, "posix", POSIX)

    def contents():
        with open(path, "rb") as f:
            return f.read(3)

    h.crcore.dump(h.target.pid, h.image, "-R")
    change = os.path.join(h.work, "change")
    open(change, "w").close()
    crtest.wait_for("the change", crtest.LIMIT, lambda: contents() == b"new")
    h.target.proc.kill()
    h.target.wait()
    os.unlink(change)
    with open(path, "rb"):
        err = h.refused("uses it", "restore", "-d", "-D", h.image)
        if f"process {os.getpid()}" not in err:
            raise Failure(f"by whom? {err}")
    h.refused("not complete in time", "restore", "-d", "-D", h.image, "--set", "restore.timeout=1ns")
    if contents() != b"new" or os.listdir("/dev/shm") != ["crcore-x"]:
        raise Failure(f"a failed restore changed something: {os.listdir('/dev/shm')}")
    h.crcore.restore_detached(h.image)
    if contents() != b"old":
        raise Failure("under its name there is something else")
    h.end("old")
    if os.listdir("/dev/shm"):
        raise Failure(f"left: {os.listdir('/dev/shm')}")
    print("shared memory with a name: as at the dump; after a failure: as before", flush=True)


def no_room(crcore_path):
    """Shared memory for which its file system has no room: said so, nothing left."""
    for how in [], ["--compress"]:
        h = Holder(crcore_path, f"no-room-{len(how)}", LARGE)
        h.crcore.dump(h.target.pid, h.image, *how)
        h.target.killed()
        os.unlink("/dev/shm/crcore-x")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", "/dev/shm"], check=True)
        try:
            err = h.refused("there is no room for its pages", "restore", "-d", "-D", h.image)
            if "/dev/shm/crcore-x" not in err or "remount" not in err or os.listdir("/dev/shm"):
                raise Failure(f"{err}left: {os.listdir('/dev/shm')}")
        finally:
            subprocess.run(["umount", "/dev/shm"], check=True)
        h.crcore.restore_detached(h.image)
        h.end("old")
    print("shared memory without room: refused, nothing left", flush=True)


def limits(crcore_path):
    h = Holder(crcore_path, "limits")

    def set_to(value):
        with open("/proc/sys/kernel/msgmax", "w") as f:
            f.write(value)

    set_to("12345")
    h.crcore.dump(h.target.pid, h.image)
    h.target.killed()
    set_to("8192")
    h.crcore.restore_detached(h.image)
    if int(open("/proc/sys/kernel/msgmax").read()) != 12345:
        raise Failure("kernel.msgmax did not come back")
    h.end()
    print("limits of the namespace: as they were", flush=True)


def large(crcore_path):
    """A large segment is stored once, without its holes, and quickly."""
    h = Holder(crcore_path, "large")
    shm = LIBC.shmget(0, ctypes.c_size_t(4 << 30), 0o1600)
    LIBC.shmat.restype = ctypes.c_void_p
    p = LIBC.shmat(shm, None, 0)
    ctypes.memset(p + (1 << 30), 1, 64 << 20)
    LIBC.shmdt(ctypes.c_void_p(p))
    start = time.monotonic()
    h.crcore.dump(h.target.pid, h.image)
    took = time.monotonic() - start
    h.target.killed()
    size = sum(os.stat(x).st_blocks for x in crtest.page_files(h.image)) * 512 >> 20
    LIBC.shmctl(shm, 0, None)
    start = time.monotonic()
    h.crcore.restore_detached(h.image)
    print(f"4 GiB with 64 MiB of contents: {size} MiB, dump {took:.2f} s, restore "
          f"{time.monotonic() - start:.2f} s", flush=True)
    if not 64 <= size < 100:
        raise Failure(f"the image has {size} MiB of pages")
    p = LIBC.shmat(shm, None, 0)
    if ctypes.string_at(p + (1 << 30) - 1, 2) != b"\0\1":
        raise Failure("the contents differ")
    LIBC.shmdt(ctypes.c_void_p(p))
    LIBC.shmctl(shm, 0, None)
    h.end()


def test(crcore_path):
    failures(crcore_path)
    shared(crcore_path)
    posix_memory(crcore_path)
    no_room(crcore_path)
    limits(crcore_path)
    large(crcore_path)


jobs.run(test)
