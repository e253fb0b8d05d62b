# SPDX-License-Identifier: Apache-2.0
"""A pid that was just reaped: no task has it any more, but the kernel gives its number free only when
it has forgotten the names below its /proc/PID. A restore waits for that, as it does for a zombie."""
import ctypes
import fcntl
import mmap
import os
import signal
import subprocess
import threading
import jobs
import crtest
from crtest import Failure

BODY = """
import os, time
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
"""
MAPPINGS = 60000


def free(pid):
    """As the kernel sees it: an owner that is to be set is looked for by number alone."""
    with open("/dev/null", "rb") as f:
        try:
            fcntl.fcntl(f, fcntl.F_SETOWN, pid)
        except ProcessLookupError:
            return True
    return False


def hold(pid):
    """A child with this pid and many mappings of a file, each a name in its map_files."""
    crtest.wait_for(f"number {pid}", crtest.LIMIT, lambda: free(pid))
    with open("/proc/sys/kernel/ns_last_pid", "w") as f:
        f.write(str(pid - 1))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        map_some(writer)
    os.close(writer)
    ready = os.read(reader, 1)
    os.close(reader)
    if child != pid or not ready:
        raise Failure(f"a child has pid {child}, not {pid}")
    return len(os.listdir(f"/proc/{pid}/map_files"))


def map_some(writer):
    libc = ctypes.CDLL(None)
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    file = os.memfd_create("names")
    os.ftruncate(file, mmap.PAGESIZE)
    for i in range(MAPPINGS):
        libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ | (mmap.PROT_WRITE if i % 2 else 0),
                  mmap.MAP_SHARED, file, 0)
    os.write(writer, b"x")
    while True:
        signal.pause()


def found(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test(crcore_path):
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    t = crtest.Target([jobs.python(), "-c", BODY], os.path.join(crtest.scratch(), "work"),
                      cwd=crtest.scratch())
    crtest.wait_for("the target", crtest.LIMIT,
                    lambda: os.path.exists(os.path.join(crtest.scratch(), "ready")))
    image = os.path.join(crtest.scratch(), "image")
    crcore.dump(t.pid, image)
    t.killed()
    for _ in range(3):
        names = hold(t.pid)
        os.kill(t.pid, signal.SIGKILL)
        reaper = threading.Thread(target=os.waitpid, args=(t.pid, 0))
        reaper.start()
        while found(t.pid):
            pass
        try:
            crcore.restore(image, "-d", stdout=subprocess.DEVNULL)
        finally:
            reaper.join()
        print(f"restored with the pid of one that had {names} names", flush=True)
        os.kill(t.pid, signal.SIGKILL)
        crtest.wait_gone(t.pid)


jobs.run(test)
