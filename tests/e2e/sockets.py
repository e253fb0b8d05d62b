# SPDX-License-Identifier: Apache-2.0
"""Programs that stream through UNIX sockets, checkpointed several times in the middle; and
a socket whose peer is outside, by each value of external-unix; what is refused, and a path
that is in use."""
import os
import socket
import time
import jobs
import crtest
from crtest import Failure

OUTSIDE = """
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
s.settimeout(10)
try:
    s.sendall(b"hello")
    answer = s.recv(99).decode()
except BrokenPipeError:
    answer = "closed " + repr(s.recv(9))
with open("answer.new", "w") as f:
    f.write(answer)
os.rename("answer.new", "answer")
"""


HOLDER = """
import os, socket, struct, sys, time
kind = sys.argv[1]
a, b = socket.socketpair()
if kind == "urgent":
    a.send(b"!", socket.MSG_OOB)
elif kind in ("listening", "early data"):
    a = socket.socket(socket.AF_UNIX)
    a.bind("socket")
    a.listen()
    if kind == "early data":
        b.close()
        b = socket.socket(socket.AF_UNIX)
        b.connect("socket")
        b.send(b"early")
elif kind == "bound":
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    a.bind(("127.0.0.1", 4321))
elif kind == "corked":
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    a.connect(("127.0.0.1", 9))
    a.setsockopt(socket.IPPROTO_UDP, 1, 1)
    a.send(b"begun")
elif kind == "netlink":
    a = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    a.bind((0, 0))
    a.send(struct.pack("IHHIIBBHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0, 0))  # asks for all links
elif kind == "packet":
    a = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    a.setsockopt(263, 13, struct.pack("IIII", 4096, 4, 2048, 8))  # PACKET_TX_RING
elif kind == "members":
    a = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    for _ in range(1025):
        a.setsockopt(263, 1, struct.pack("IHH8x", 1, 2, 0))  # PACKET_ADD_MEMBERSHIP, allmulti
elif kind == "frames":
    a = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
"""
REFUSALS = {
    "urgent": "out-of-band",
    "early data": "nobody has accepted yet", "corked": "UDP_CORK",
    "netlink": "messages of the kernel wait", "packet": "it has a ring",
    "members": "more than 1024 memberships", "frames": "frames wait in it",
}


class Holder:
    def __init__(self, crcore_path, kind):
        top = os.path.join(crtest.scratch(), "holder-" + kind.replace(" ", "-"))
        self.work = os.path.join(top, "work")
        os.makedirs(self.work)
        self.image = os.path.join(top, "image")
        self.crcore = crtest.Crcore(crcore_path, top)
        self.target = crtest.Target([jobs.python(), "-c", HOLDER, kind], self.work, cwd=self.work)
        crtest.wait_for("the holder", crtest.LIMIT,
                        lambda: os.path.exists(os.path.join(self.work, "ready")))

    def go(self):
        open(os.path.join(self.work, "go"), "w").close()


def refusals(crcore_path):
    for kind, text in REFUSALS.items():
        h = Holder(crcore_path, kind)
        rc, _, err = h.crcore.run("dump", "-t", h.target.pid, "-D", h.image)
        if not rc or text not in err:
            raise Failure(f"{kind}: status {rc}, {err}")
        h.go()
        if h.target.wait(20):
            raise Failure(f"{kind}: the program did not go on")
    print("refused by name:", ", ".join(REFUSALS), flush=True)


def occupied(crcore_path):
    """The path of a socket of the image is that of a living socket: it stays as it is."""
    h = Holder(crcore_path, "listening")
    h.crcore.dump(h.target.pid, h.image)
    h.target.killed()
    path = os.path.join(h.work, "socket")
    os.unlink(path)
    other = socket.socket(socket.AF_UNIX)
    other.bind(path)
    other.listen()
    before = os.stat(path)
    rc, _, err = h.crcore.run("restore", "-d", "-D", h.image)
    if not rc or path not in err or "another socket is bound there" not in err:
        raise Failure(f"a path in use: status {rc}, {err}")
    if os.stat(path) != before:
        raise Failure("a path in use was touched")
    other.close()
    h.crcore.restore_detached(h.image)
    if os.stat(path).st_ino == before.st_ino or [x for x in os.listdir(h.work) if "crcore" in x]:
        raise Failure(f"the stale file was not replaced: {os.listdir(h.work)}")
    socket.socket(socket.AF_UNIX).connect(path)
    h.go()
    crtest.wait_gone(h.target.pid)
    print("a path in use: refused; a stale file: replaced", flush=True)


def taken(crcore_path):
    """The port of a UDP socket of the image is in use: refused before anything is made."""
    h = Holder(crcore_path, "bound")
    h.crcore.dump(h.target.pid, h.image)
    h.target.killed()
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.bind(("127.0.0.1", 4321))
    rc, _, err = h.crcore.run("restore", "-d", "-D", h.image)
    if not rc or "127.0.0.1 port 4321" not in err:
        raise Failure(f"a port in use: status {rc}, {err}")
    other.close()
    h.crcore.restore_detached(h.image)
    h.go()
    crtest.wait_gone(h.target.pid)
    print("a port in use: refused", flush=True)


def results(folder):
    path = os.path.join(folder, "output")
    return {"output": jobs.sha256(path)} if os.path.exists(path) else {}


class Outside:
    """A client in the tree, its server here."""

    def __init__(self, crcore_path, name):
        self.top = os.path.join(crtest.scratch(), name)
        self.work = os.path.join(self.top, "work")
        os.makedirs(self.work)
        self.path = os.path.join(self.top, "server")
        self.server = socket.socket(socket.AF_UNIX)
        self.server.settimeout(20)
        self.server.bind(self.path)
        self.server.listen()
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.target = crtest.Target([jobs.python(), "-c", OUTSIDE, self.path], self.work,
                                    cwd=self.work)
        crtest.wait_for("the client", crtest.LIMIT, lambda: self.there("ready"))
        self.connection = self.server.accept()[0]
        self.image = os.path.join(self.top, "image")

    def there(self, name):
        return os.path.exists(os.path.join(self.work, name))

    def move(self, how):
        self.crcore.dump(self.target.pid, self.image, "--set",
                         f"sockets.external-unix+={self.top}/*={how}")
        self.target.killed()
        self.crcore.restore_detached(self.image)

    def hand_over(self):
        self.crcore.dump(self.target.pid, self.image, "--set",
                         f"sockets.external-unix+={self.top}/*=inherit")
        self.target.killed()
        rc, _, err = self.crcore.run("restore", "-d", "-D", self.image)
        if not rc or "inherit-fd" not in err:
            raise Failure(f"nothing is handed over: status {rc}, {err}")
        ours, theirs = socket.socketpair()
        os.set_inheritable(theirs.fileno(), True)
        self.crcore.restore_detached(self.image, "--set", "sockets.inherit-fd+="
                                     f"fd[{theirs.fileno()}]:{self.path}", close_fds=False)
        theirs.close()
        return ours

    def answer(self):
        open(os.path.join(self.work, "go"), "w").close()

    def expect(self, text):
        crtest.wait_for("the answer", crtest.LIMIT, lambda: self.there("answer"))
        with open(os.path.join(self.work, "answer")) as f:
            got = f.read()
        if got != text:
            raise Failure(f"the client got {got!r} and not {text!r}")
        crtest.wait_gone(self.target.pid)


def outside(crcore_path):
    o = Outside(crcore_path, "close")
    rc, _, err = o.crcore.run("dump", "-t", o.target.pid, "-D", o.image)
    if not rc or o.path not in err or "outside the tree" not in err or "external-unix" not in err:
        raise Failure(f"a peer outside: status {rc}, {err}")
    o.move("close")
    o.answer()
    o.expect("closed b''")
    o = Outside(crcore_path, "reconnect")
    o.move("reconnect")
    connection = o.server.accept()[0]
    o.answer()
    if connection.recv(99) != b"hello":
        raise Failure("the server got something else")
    connection.sendall(b"and you")
    o.expect("and you")
    o = Outside(crcore_path, "inherit")
    connection = o.hand_over()
    o.answer()
    if connection.recv(99) != b"hello":
        raise Failure("who handed a socket over got something else")
    connection.sendall(b"well")
    o.expect("well")
    print("outside: refused, closed, connected again, handed over", flush=True)


def test(crcore_path):
    refusals(crcore_path)
    occupied(crcore_path)
    taken(crcore_path)
    outside(crcore_path)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sockets_job.py")
    rounds = "60" if jobs.SHORT else "400"
    job = jobs.Job(crcore_path, [jobs.python(), script, "output", rounds], results)
    job.crcore = crtest.Patient(crcore_path, job.top, "nobody has accepted yet")
    job.undisturbed()
    job.disturbed(3)
    job.left_running(3)


jobs.run(test)
