# SPDX-License-Identifier: Apache-2.0
"""The memory of a restored tree is charged to the tree's groups, as it was: private memory to that
of each task, shared memory to that of the root. With limits that leave little room: of memory, and
of exactly as many processes as there are. Groups that are gone, and groups that are still there."""
import os
import shutil
import jobs
import crtest
import groups
from crtest import Failure
from groups import Group

MEMORY, PIDS = "memory", "pids"
MIB = 1 << 20
SLACK = 6 * MIB  # what a process had touched before it came into its group
PROGRAM = """
import ctypes, mmap, os, time
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
def fill(m, n):
    for i in range(0, n, 4096):
        m[i] = 1 + i // 4096 % 255
def step(name):
    while not os.path.exists(name):
        time.sleep(0.01)
pid = os.fork()
if pid == 0:
    step("fill")
    own = mmap.mmap(-1, 24 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    fill(own, 24 << 20)
    open("child", "w").write("yes")
    step("go")
    os._exit(any(own[i] != 1 + i // 4096 % 255 for i in range(0, 24 << 20, 4096)))
open("pid", "w").write(str(pid))
step("fill")
step("child")
own = mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
fill(own, 32 << 20)
shared = mmap.mmap(-1, 16 << 20)
fill(shared, 16 << 20)
fd = os.memfd_create("contents")
os.ftruncate(fd, 8 << 20)
file = mmap.mmap(fd, 8 << 20)
fill(file, 8 << 20)
shm = libc.shmget(0, 4 << 20, 0o1600)
ctypes.memset(libc.shmat(shm, None, 0), 7, 4 << 20)
libc.shmctl(shm, 0, None)
open("ready", "w").write("yes")
step("go")
bad = any(m[i] != 1 + i // 4096 % 255 for m in (own, shared, file) for i in range(0, len(m), 4096))
with open("result.new", "w") as f:
    f.write(f"{bad} {os.waitpid(pid, 0)[1]}")
os.rename("result.new", "result")
"""


def charged(group):
    stat = dict(x.split() for x in group.read("memory.stat").splitlines())
    return {x: int(stat[x]) for x in ("rss", "shmem") if x in stat}


def compare(what, before, now):
    for key, value in before.items():
        if abs(now[key] - value) > SLACK:
            raise Failure(f"{what}: {key} is {now[key] // MIB} MiB, and was {value // MIB}")


def main(crcore_path):
    for hierarchy in (MEMORY, PIDS):
        groups.need(hierarchy)
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    work = os.path.join(crtest.scratch(), "work")
    os.mkdir(work)
    root, below = Group(MEMORY, "tree").make(), Group(MEMORY, "tree/child").make()
    count = Group(PIDS, "tree").make()
    target = crtest.Target([jobs.python(), "-c", PROGRAM], work, cwd=work)
    child = int(crtest.wait_for("the child", crtest.LIMIT, lambda: target.read("pid")))
    root.add(target.pid)
    below.add(child)
    count.add(target.pid, child)
    open(target.path("fill"), "w").close()
    crtest.wait_for("the target", crtest.LIMIT, lambda: target.read("ready"))
    before = charged(root), charged(below)
    if before[0]["rss"] < 32 * MIB or before[1]["rss"] < 24 * MIB:
        raise Failure(f"this kernel charges otherwise: {before}")
    root.write("memory.limit_in_bytes", sum(before[0].values()) + before[1]["rss"] + 16 * MIB)
    count.write("pids.max", 2)

    def check(what):
        compare(what, before[0], charged(root))
        compare(f"{what}, child", before[1], charged(below))
        if root.pids() != [target.pid] or below.pids() != [child]:
            raise Failure(f"{what}: {root.pids()} {below.pids()}")
        if count.read("pids.max") != "2" or count.read("pids.current") != "2":
            raise Failure(f"{what}: {count.read('pids.current')} of {count.read('pids.max')}")
        print(f"{what}: {charged(root)}, child {charged(below)}", flush=True)

    print(f"before: {before[0]}, child {before[1]}", flush=True)
    for name, gone in (("gone", True), ("there", False)):
        image = os.path.join(crtest.scratch(), "image")
        crcore.dump(target.pid, image)
        target.killed()
        crtest.wait_gone(child)
        for g in (below, root, count) if gone else ():
            g.remove()
        crcore.restore_detached(image)
        check(f"groups were {name}")
        shutil.rmtree(image)
    open(target.path("go"), "w").close()
    result = crtest.wait_for("the result", crtest.LIMIT, lambda: target.read("result"))
    if result != "False 0":
        raise Failure(f"memory is wrong: {result}")
    crtest.wait_gone(target.pid)


jobs.run(main)
