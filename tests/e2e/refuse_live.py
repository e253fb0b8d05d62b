# SPDX-License-Identifier: Apache-2.0
"""What cannot be saved is refused while the tree runs, so it is not stopped for that, with sockets
too; and only what lasts: a storm of descriptors that are made, moved and closed is never refused
before it stands still."""
import json
import os
import shutil
import socket
import time
import jobs
import crtest
from crtest import Failure

# The first has a peer outside, and a thread that waits as servers do. The second never rests. The
# third keeps the other end of a connection open in nothing but a read(2), which ends when it is
# stopped.
IDLE = """
import select, signal, socket, threading
s = socket.socket(socket.AF_UNIX)
s.connect("\\0refuse-live")
threading.Thread(target=lambda: select.epoll().poll(), daemon=True).start()
open("ready", "w").write("x")
signal.sigwait([signal.SIGUSR1])
"""
BUSY = """
import ctypes
libc = ctypes.CDLL(None)
assert libc.syscall(323, 0) >= 0
open("ready", "w").write("x")
while True:
    pass
"""
KEPT = """
import os, signal, socket, threading, time
a, b = socket.socketpair()
threading.Thread(target=lambda: os.read(b.fileno(), 1), daemon=True).start()
time.sleep(0.3)
os.close(b.fileno())
open("ready", "w").write("x")
signal.sigwait([signal.SIGUSR1])
os._exit(a.recv(1) != b"")
"""


def dump(crcore, target, *args):
    """Status, error, and whether the tree was stopped."""
    image, trace = os.path.join(crcore.folder, "image"), os.path.join(crcore.folder, "trace")
    rc, _, err = crcore.run("dump", "-t", target.pid, "-D", image, "-R", "--trace", trace, *args)
    with open(trace) as f:
        names = [e.get("name") for e in json.load(f)["traceEvents"]]
    with open(crcore.log) as f:
        stood = "stood still" in f.read()
    if "observe" not in names or stood != ("freeze" in names):
        raise Failure(f"the trace and the log are not of one mind: {names}")
    shutil.rmtree(image, ignore_errors=True)
    return rc, err, stood


def program(name, text):
    target = crtest.Target([jobs.python(), "-c", text], os.path.join(crtest.scratch(), name),
                           cwd=os.path.join(crtest.scratch(), name))
    return target.ready()


def refused(crcore_path, name, text, why):
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    target = program(name, text)
    for _ in range(10):
        rc, err, stood = dump(crcore, target)
        if not rc or why not in err:
            raise Failure(f"{name}: status {rc}, {err}")
        if stood:
            raise Failure(f"{name} was stopped to be refused")
    target.proc.kill()
    target.proc.wait()
    print(f"{name}: refused, never stopped", flush=True)


def kept(crcore_path):
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    target = program("kept", KEPT)
    rc, err, _ = dump(crcore, target)
    if rc:
        raise Failure(f"what only a call keeps open is refused: {err}")
    os.kill(target.pid, 10)
    target.wait()
    print("kept: saved", flush=True)


def storm(crcore_path, path):
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    target = crtest.Target([path, os.path.join(crtest.scratch(), "storm")],
                           os.path.join(crtest.scratch(), "storm")).ready()
    told = 0
    for i in range(100):
        rc, err, stood = dump(crcore, target)
        told += rc != 0
        if rc and not stood:
            raise Failure(f"dump {i} was refused before the tree stood still: {err}")
        time.sleep(0.003 * (i % 5))
    with open(target.path("go"), "w"):
        pass
    status = target.wait()
    if status or target.read("result").strip() != "pass":
        raise Failure(f"storm: {target.read('result')}; status {status}")
    print(f"storm: 100 dumps, {told} refused by the frozen tree", flush=True)


def test(crcore_path, path):
    server = socket.socket(socket.AF_UNIX)
    server.bind("\0refuse-live")
    server.listen()
    refused(crcore_path, "idle", IDLE, "external-unix")
    refused(crcore_path, "busy", BUSY, "userfaultfd")
    storm(crcore_path, path)
    kept(crcore_path)


jobs.run(test)
