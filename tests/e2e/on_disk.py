# SPDX-License-Identifier: Apache-2.0
"""File systems of a test's own, and programs that find out whether their files are right."""
import fcntl
import os
import shutil
import subprocess
import sys
import jobs
import crtest
from crtest import Failure

RUN_KIND = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "kinds", "run-kind")

# Holds, maps and locks files that are alike, and deletes one of them; waits for a FIFO.
TWINS = """
import fcntl, mmap, os, select, sys, time
os.mkfifo("fifo")
fifo = os.open("fifo", os.O_RDWR)
waits = select.epoll()
waits.register(fifo, select.EPOLLIN)
files = [open(x, "r+b") for x in sys.argv[1:]]
maps = [mmap.mmap(f.fileno(), 0) for f in files]
own = [mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE) for f in files]
want = [bytes(m) for m in maps]
for i, f in enumerate(files):
    own[i][0:1] = b"0123"[i:i + 1]
    f.seek(i + 1)
for f in files[:2]:
    fcntl.lockf(f, fcntl.LOCK_EX, 10, 5)
os.unlink(sys.argv[-1])
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
os.write(fifo, b"x")
assert waits.poll(0) == [(fifo, select.EPOLLIN)]
def locked(f):
    if not os.fork():
        try:
            fcntl.lockf(open(f"/proc/self/fd/{f.fileno()}", "r+b"), fcntl.LOCK_SH | fcntl.LOCK_NB, 10, 5)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.wait()[1] != 0
for i, f in enumerate(files):
    assert f.tell() == i + 1, (i, f.tell())
    assert maps[i][:] == want[i] == os.pread(f.fileno(), 1 << 20, 0), i
    assert own[i][:] == b"0123"[i:i + 1] + want[i][1:], i
    maps[i][2:3] = b"!"
    assert os.pread(f.fileno(), 1, 2) == b"!", i
assert locked(files[0]) and locked(files[1]) and not locked(files[-1])
open("result", "w").write("pass")
"""


def must(*argv):
    p = subprocess.run(argv, capture_output=True, text=True, check=False)
    if p.returncode:
        raise Failure(f"{' '.join(argv)}: {p.stdout}{p.stderr}")
    return p.stdout


def mount_new(kind, size, *options):
    """A new file system in a file, mounted in the test's own namespace: when that ends the
    kernel takes the loop device away. Where it is mounted."""
    top = crtest.scratch()
    crtest.need(f"mkfs.{kind}")
    if not os.path.exists("/dev/loop-control"):
        raise crtest.Skip("no loop devices")
    disk, where = os.path.join(top, f"{kind}.disk"), os.path.join(top, kind)
    os.mkdir(where)
    try:
        with open(disk, "wb") as f:
            f.truncate(size)
    except OSError as e:
        raise crtest.Skip(f"no file of {size >> 30} GiB: {e.strerror}") from None
    must(f"mkfs.{kind}", "-q", *options, disk)
    p = subprocess.run(["mount", "-t", kind, "-o", "loop", disk, where], capture_output=True,
                       text=True, check=False)
    if p.returncode:
        raise crtest.Skip(f"{kind} cannot be mounted: {p.stderr.strip()}")
    return where


def run_kinds(crcore, folder, programs):
    """Runs each with its files, its executable and its images in a folder there."""
    for program in programs:
        name = os.path.basename(program)
        place = os.path.join(folder, name)
        os.mkdir(place)
        os.chmod(place, 0o777)
        copy = shutil.copy2(program, os.path.join(place, "program"))
        print(f"{os.path.basename(folder)}: {name}", flush=True)
        # What it says is not kept: one that fails ends all else here, us too.
        p = subprocess.run([sys.executable, "-B", RUN_KIND, "--crcore", crcore, "--modes", "restore",
                            "--dump", "--link-remap --set events.queued=drop", copy],
                           env={**os.environ, "CRCORE_TEST_DIR": place}, check=False)
        if p.returncode:
            raise Failure(f"{name} in {folder} failed")


def elsewhere(path):
    """An open file of another file system that has the same inode number."""
    folder = os.path.join(crtest.scratch(), "elsewhere")
    os.mkdir(folder)
    must("mount", "-t", "tmpfs", "none", folder)
    want = os.stat(path).st_ino
    for i in range(100000):
        f = open(os.path.join(folder, str(i)), "w")
        if os.fstat(f.fileno()).st_ino == want:
            return f
        f.close()
    raise Failure(f"no other inode {want}")


def run_twins(crcore_path, folder, *paths, other=None):
    """A program that has these files, the last of which it deletes; two checkpoints. Meanwhile
    we hold a lock on other, which is none of them."""
    work = os.path.join(folder, "twins")
    t = crtest.Target([jobs.python(), "-c", TWINS, *paths], work, cwd=work)
    crtest.wait_for("the program", crtest.LIMIT,
                    lambda: os.path.exists(t.path("ready")) or t.proc.poll() is not None)
    if other:
        fcntl.lockf(other, fcntl.LOCK_EX)
    crcore = crtest.Crcore(crcore_path, folder)
    for i in range(2):
        image = os.path.join(folder, f"image-{i}")
        crcore.dump(t.pid, image)
        if i == 0:
            t.killed()
        else:
            crtest.wait_gone(t.pid)
        crcore.restore_detached(image)
    open(t.path("go"), "w").close()
    crtest.wait_gone(t.pid)
    if t.read("result") != "pass":
        raise Failure(f"files that are alike: {t.read('stderr')}")
    print("files that are alike: passed", flush=True)
