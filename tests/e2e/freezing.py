# SPDX-License-Identifier: Apache-2.0
"""A group that is FREEZING: one of its tasks waits for a file server that does not answer, and
cannot be frozen (nor stopped) before it does. A dump says so and leaves all as it was, with no
step of the others executed. Once the server has answered, the group is FROZEN; saved, it comes
back so. Version 1 (version 2 does not tell the two apart)."""
import ctypes
import os
import struct
import threading
import jobs
import crtest
import groups
from crtest import Failure
from groups import V1, Group

PROGRAM = """
import os, struct, sys, time, mmap
def counter(i):
    f = open("count", "r+b")
    m = mmap.mmap(f.fileno(), 4096)
    while not os.path.exists("go"):
        m[i * 8:i * 8 + 8] = struct.pack("Q", struct.unpack("Q", m[i * 8:i * 8 + 8])[0] + 1)
        time.sleep(0.0001)
open("count", "wb").write(bytes(4096))
child = os.fork()
if child == 0:
    open("asks", "w").close()
    try:
        os.stat(sys.argv[1])
    except FileNotFoundError:
        counter(1)
        os._exit(0)
    os._exit(1)
open("child", "w").write(str(child))
counter(0)
with open("result.new", "w") as f:
    f.write(str(os.waitpid(child, 0)[1]))
os.rename("result.new", "result")
"""
INIT, LOOKUP, DESTROY, GETATTR = 26, 1, 38, 3
LIBC = ctypes.CDLL(None, use_errno=True)


class Server:
    """A file system with nothing in it, that answers no LOOKUP until it is told to."""

    def __init__(self, folder):
        self.folder = folder
        try:
            self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as e:
            raise crtest.Skip(f"no file servers: {e.strerror}") from None
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        if LIBC.mount(b"slow", folder.encode(), b"fuse", 0, options.encode()):
            raise crtest.Skip(f"no file servers: {os.strerror(ctypes.get_errno())}")
        self.waiting, self.answers = [], False
        self.lock = threading.Lock()
        threading.Thread(target=self.serve, daemon=True).start()

    def reply(self, unique, error, body=b""):
        os.write(self.fd, struct.pack("IiQ", 16 + len(body), error, unique) + body)

    def serve(self):
        while True:
            try:
                request = os.read(self.fd, 1 << 20)
            except OSError:
                return # unmounted
            _, opcode, unique = struct.unpack_from("IIQ", request)
            if opcode == INIT:
                major, minor = struct.unpack_from("II", request, 40)
                self.reply(unique, 0, struct.pack("IIIIHHIIHHI7I", major, min(minor, 31), 0, 0, 0, 0,
                                                  4096, 1, 0, 0, 0, *[0] * 7))
            elif opcode == LOOKUP:
                with self.lock:
                    if not self.answers:
                        self.waiting.append(unique)
                        continue
                self.reply(unique, -2)
            elif opcode == GETATTR: # of the root
                attr = struct.pack("QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 1, 0, 0, 0,
                                   4096, 0)
                self.reply(unique, 0, struct.pack("QII", 1000, 0, 0) + attr)
            elif opcode != DESTROY:
                self.reply(unique, -38)

    def answer(self):
        with self.lock:
            self.answers = True
            for unique in self.waiting:
                self.reply(unique, -2)
            self.waiting = []

    def end(self):
        self.answer()
        LIBC.umount2(self.folder.encode(), 2)


def counters(target):
    with open(target.path("count"), "rb") as f:
        return struct.unpack("QQ", f.read(16))


def moves(target, i):
    before = counters(target)[i]
    crtest.wait_for(f"counter {i} to move", crtest.LIMIT, lambda: counters(target)[i] > before)


def run(crcore, server, work):
    target = crtest.Target([jobs.python(), "-c", PROGRAM, os.path.join(server.folder, "x")], work, cwd=work)
    child = int(crtest.wait_for("the child", crtest.LIMIT, lambda: target.read("child")))
    crtest.wait_for("its question", crtest.LIMIT, lambda: server.waiting)
    moves(target, 0)
    group = Group(V1, "slow").make()
    group.add(target.pid, child)
    group.write("freezer.state", "FROZEN")
    image = os.path.join(crtest.scratch(), "image")

    def stands_still():
        before = counters(target)
        return counters(target) == before
    crtest.wait_for("the counter to stand", crtest.LIMIT, stands_still)
    if group.read("freezer.state") != "FREEZING":
        raise Failure(f"this kernel freezes who waits for a server: {group.read('freezer.state')}")
    before = counters(target)
    rc, _, err = crcore.run("dump", "-t", target.pid, "-D", image, "--set", "dump.timeout=1s")
    if rc != 1 or "does not stop" not in err or "file server" not in err:
        raise Failure(f"a dump of a tree that does not freeze: status {rc}\n{err}")
    if group.read("freezer.state") != "FREEZING" or counters(target) != before:
        raise Failure(f"after it: {group.read('freezer.state')} {before} {counters(target)}")
    server.answer()
    crtest.wait_for("the group to be frozen", crtest.LIMIT, group.frozen)
    crcore.dump(target.pid, image)
    target.killed()
    group.remove()
    crcore.restore_detached(image)
    if group.read("freezer.state") != "FROZEN" or counters(target) != before:
        raise Failure(f"restored: {group.read('freezer.state')} {before} {counters(target)}")
    group.thaw()
    moves(target, 0)
    moves(target, 1)
    open(target.path("go"), "w").close()
    result = crtest.wait_for("the result", crtest.LIMIT, lambda: target.read("result"))
    crtest.wait_gone(target.pid)
    if result != "0":
        raise Failure(f"the child ended with {result}")


def main(crcore_path):
    groups.need(V1)
    work, folder = (os.path.join(crtest.scratch(), x) for x in ("work", "slow"))
    os.mkdir(work)
    os.mkdir(folder)
    server = Server(folder)
    try:
        run(crtest.Crcore(crcore_path, crtest.scratch()), server, work)
    finally:
        server.end()


jobs.run(main)
