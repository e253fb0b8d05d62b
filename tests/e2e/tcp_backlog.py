# SPDX-License-Identifier: Apache-2.0
"""Connections from outside that nobody has accepted yet wait again after a restore
(tcp.in-flight: keep), in their order, with what they have sent, or its end, or a reset: IPv4, IPv6
and v4-mapped. A dump that fails, or is killed, after it took them out puts them back. The
peers notice nothing."""
import hashlib
import os
import random
import select
import socket
import struct
import subprocess
import time

import jobs
import crtest
import nft
from crtest import Failure

# Takes nothing until there is a file "go". Then it says of each connection, in the order in which
# they come: from whom, the urgent byte, a hash of what came, how it ended.
SERVER = """
import hashlib, os, select, socket, sys, time
if ":" in sys.argv[1]:
    s = socket.create_server((sys.argv[1], 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=40)
else:
    s = socket.create_server((sys.argv[1], 0), backlog=40)
with open("port.new", "w") as f: f.write(str(s.getsockname()[1]))
os.rename("port.new", "port")
while not os.path.exists("go"):
    time.sleep(0.01)
def one(c, peer):
    data, end, urgent = b"", "open", ""
    if select.select([], [], [c], 0)[2]:
        urgent = c.recv(1, socket.MSG_OOB).decode()
    while not data.endswith(b"END"):
        try:
            part = c.recv(1 << 20)
        except OSError as e:
            end = type(e).__name__
            break
        if not part:
            end = "closed"
            break
        data += part
    line = f"{peer[1]} {urgent or '-'} {hashlib.sha256(data).hexdigest()} {end}"
    if end != "ConnectionResetError":
        c.sendall(line.encode() + b"\\n")
        c.close()
    return line
with open("said.new", "w") as f:
    for i in range(int(sys.argv[2])):
        f.write(one(*s.accept()) + "\\n")
os.rename("said.new", "said")
"""


class Peer:
    """A client, what it sends before the dump, and what is to be heard of it."""

    def __init__(self, host, port, size, end="open", urgent=False):
        self.sock = socket.create_connection((host, port), crtest.LIMIT)
        self.port = self.sock.getsockname()[1]
        self.data, self.rest = random.Random(size).randbytes(size), b"END"
        self.end, self.urgent = end, urgent
        self.sock.setblocking(False)
        done = 0
        while done < size:
            try:
                done += self.sock.send(self.data[done:])
            except BlockingIOError:
                break
        self.rest = self.data[done:] + self.rest
        if urgent:
            self.sock.send(b"!", socket.MSG_OOB)
            self.sock.send(b"after")
            self.data += b"after"
        if end == "closed":
            self.sock.shutdown(socket.SHUT_WR)
        if end == "ConnectionResetError":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()
        else:
            self.sock.setblocking(True)
            self.sock.settimeout(crtest.LIMIT)

    def line(self):
        data = self.data + (b"END" if self.end == "open" else b"")
        return (f"{self.port} {'!' if self.urgent else '-'} {hashlib.sha256(data).hexdigest()} "
                f"{self.end}")

    def quiet(self):
        if self.end != "ConnectionResetError" and select.select([self.sock], [], [], 0)[0]:
            raise Failure(f"peer {self.port} was told something: {self.sock.recv(9)!r}")

    def finish(self):
        if self.end == "ConnectionResetError":
            return
        if self.end == "open":
            self.sock.sendall(self.rest)
        got = b""
        while not got.endswith(b"\n"):
            part = self.sock.recv(1000)
            if not part:
                raise Failure(f"peer {self.port} of {len(self.data)} bytes got only {got!r}")
            got += part
        if self.sock.recv(1) != b"":
            raise Failure("more than one answer")
        if got.decode().strip() != self.line():
            raise Failure(f"peer {self.port} was told {got} and not {self.line()}")
        self.sock.close()


SHAPES = ((0,), (1,), (5000, "closed"), (0, "closed"), (2 << 20,), (100, "ConnectionResetError"),
          (3, "open", True), (70000, "closed"), (10,))


class Case:
    def __init__(self, crcore_path, name, listen, hosts, shapes=SHAPES):
        self.top = os.path.join(crtest.scratch(), name)
        work = os.path.join(self.top, "work")
        os.makedirs(work)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        count = len(shapes) * len(hosts)
        self.t = crtest.Target([jobs.python(), "-c", SERVER, listen, str(count)], work, cwd=work)
        crtest.wait_for("the port", crtest.LIMIT, lambda: os.path.exists(self.t.path("port")))
        self.port = port = int(self.t.read("port"))
        self.peers = [Peer(host, port, *shape) for shape in shapes for host in hosts]
        self.images = 0

    def image(self):
        self.images += 1
        return os.path.join(self.top, f"image-{self.images}")

    def move(self, mine):
        image = self.image()
        self.crcore.dump(self.t.pid, image, "--set", "tcp.in-flight=keep")
        self.t.killed() if mine else crtest.wait_gone(self.t.pid)
        for p in self.peers:
            p.quiet()
        self.crcore.restore_detached(image)
        self.quiet()

    def quiet(self):
        for p in self.peers:
            p.quiet()
        if self.waiting() != len(self.peers):
            raise Failure(f"{self.waiting()} wait to be accepted, of {len(self.peers)}")

    def waiting(self):
        """As the kernel says: of a socket that listens (0A), what could be received."""
        for name in ("tcp", "tcp6"):
            with open("/proc/net/" + name) as f:
                for line in f:
                    word = line.split()
                    if word[3] == "0A" and word[1].endswith(f":{self.port:04X}"):
                        return int(word[4].split(":")[1], 16)
        raise Failure("nobody listens")

    def finish(self):
        open(self.t.path("go"), "w").close()
        for p in self.peers:
            p.finish()
        crtest.wait_for("the server", crtest.LIMIT, lambda: os.path.exists(self.t.path("said")))
        wanted = [p.line() for p in self.peers]
        if self.t.read("said").splitlines() != wanted:
            raise Failure("the server heard\n" + self.t.read("said") + "and not\n" + "\n".join(wanted))


def moved(crcore_path, rules, name, listen, hosts):
    before = rules.ruleset()
    c = Case(crcore_path, name, listen, hosts)
    for i in range(2):
        c.move(i == 0)
    c.finish()
    if rules.ruleset() != before:
        raise Failure(f"rules were left:\n{rules.ruleset()}")
    print(f"{name}: {len(c.peers)} connections were accepted after two restores", flush=True)


def failed(crcore_path, rules):
    """There is no room for the memory of the tree, which is saved after all else."""
    before = rules.ruleset()
    c = Case(crcore_path, "failed", "::", ("127.0.0.1", "::1"))
    small = os.path.join(c.top, "small")
    os.mkdir(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", small], check=True)
    rc, _, err = c.crcore.run("dump", "-t", c.t.pid, "-D", os.path.join(small, "image"), "--set",
                              "tcp.in-flight=keep")
    subprocess.run(["umount", small], check=True)
    if not rc or "space" not in err:
        raise Failure(f"a dump without room: {rc} {err}")
    c.quiet()
    c.finish()
    c.t.proc.wait()
    if rules.ruleset() != before:
        raise Failure(f"rules were left:\n{rules.ruleset()}")
    print("failed: a dump that failed put all back", flush=True)


def killed(crcore_path, rules, kill_at):
    """At each call from the first of them that is read to the last."""
    before = rules.ruleset()
    c = Case(crcore_path, "killed", "127.0.0.1", ("127.0.0.1",),
             ((1,), (5000, "closed"), (3, "open", True), (0,)))
    rc, n = 1, 0
    while rc:
        n += 1
        env = {"LD_PRELOAD": os.path.abspath(kill_at), "CRCORE_KILL_AT": str(n),
               **(crtest.NO_LEAK_SEARCH or {})}
        image = c.image()
        rc, _, _ = c.crcore.run("dump", "-t", c.t.pid, "-D", image, "--set", "tcp.in-flight=keep",
                                env=env)
        crtest.wait_for("crcore to be gone", crtest.LIMIT, lambda: not crtest.running(crcore_path))
        if c.t.proc.poll() is not None:  # too late: the image was complete
            break
        if rc:
            c.quiet()
            if rules.ruleset() != before:
                raise Failure(f"rules were left by kill {n}:\n{rules.ruleset()}")
    if n < 10:
        raise Failure(f"only {n} calls")
    c.t.killed()
    c.crcore.restore_detached(image)
    c.finish()
    print(f"killed: put back at each of {n - 1} calls", flush=True)


def cookies(on):
    """In the network namespace of this test."""
    with open("/proc/sys/net/ipv4/tcp_syncookies", "w") as f:
        f.write("1" if on else "0")


def refused(crcore_path):
    """Without SYN cookies the kernel cannot be told; that is said before anything happens. A tree that
    goes on keeps who waits."""
    c = Case(crcore_path, "refused", "127.0.0.1", ("127.0.0.1",), ((1,), (300, "closed")))
    keep = ("--set", "tcp.in-flight=keep")

    def must_fail(words, *args):
        rc, _, err = c.crcore.run(*args)
        if not rc or words not in err:
            raise Failure(f"{args}: {rc} {err}")
        c.quiet()

    must_fail("waits to be accepted", "dump", "-t", c.t.pid, "-D", c.image())
    cookies(False)
    must_fail("SYN cookies", "dump", "-t", c.t.pid, "-D", c.image(), *keep)
    cookies(True)
    c.crcore.dump(c.t.pid, c.image(), "-R", *keep)
    c.quiet()
    image = c.image()
    c.crcore.dump(c.t.pid, image, *keep)
    c.t.killed()
    cookies(False)
    rc, _, err = c.crcore.run("restore", "-D", image, "-d", stdout=subprocess.DEVNULL)
    cookies(True)
    if not rc or "SYN cookies" not in err:
        raise Failure(f"restored without SYN cookies: {rc} {err}")
    c.crcore.restore_detached(image)
    c.finish()
    print("refused: where the kernel does not take them", flush=True)


def links():
    """Programs at the loopback device."""
    out = subprocess.run(["ip", "-d", "link", "show", "lo"], check=True, capture_output=True, text=True)
    return out.stdout


def kill_sometime(c, crcore_path, rng, *words):
    """kill -9 of the process that does the work, at a moment of the command."""
    p = c.crcore.start(*words, env=crtest.NO_LEAK_SEARCH, stdout=subprocess.DEVNULL)
    time.sleep(rng.uniform(0, 0.08))
    crtest.kill_some(p, 1)
    c.crcore.finish(p)
    crtest.wait_for("crcore to be gone", crtest.LIMIT, lambda: not crtest.running(crcore_path))


def any_moment(crcore_path, rules):
    """Killed dumps leave all as it was, killed restores leave the peers waiting for the next."""
    before, links_before = rules.ruleset(), links()
    c = Case(crcore_path, "any-moment", "127.0.0.1", ("127.0.0.1",))
    rng = random.Random(4)
    mine = True
    for _ in range(8):
        image = c.image()
        kill_sometime(c, crcore_path, rng, "dump", "-t", c.t.pid, "-D", image, "--set",
                      "tcp.in-flight=keep")
        if c.t.proc.poll() is not None:  # it came too late
            mine = False
            break
        c.quiet()
        if rules.ruleset() != before or links() != links_before:
            raise Failure(f"left by a killed dump:\n{rules.ruleset()}{links()}")
    if mine:
        image = c.image()
        c.crcore.dump(c.t.pid, image, "--set", "tcp.in-flight=keep")
        c.t.killed()
    between, done = rules.ruleset(), False
    for _ in range(8):
        kill_sometime(c, crcore_path, rng, "restore", "-D", image, "-d")
        for p in c.peers:
            p.quiet()
        done = crtest.start_time(c.t.pid) != 0 and rules.ruleset() == before
        if done:
            break
        crtest.wait_gone(c.t.pid)
        if rules.ruleset() != between or links() != links_before:
            raise Failure(f"left by a killed restore:\n{rules.ruleset()}{links()}")
    if not done:
        c.crcore.restore_detached(image)
    c.finish()
    if rules.ruleset() != before or links() != links_before:
        raise Failure(f"left:\n{rules.ruleset()}{links()}")
    print("any moment: dumps and restores that were killed", flush=True)


def test(crcore_path, kill_at):
    crtest.need("ip")
    rules = nft.Nft()
    moved(crcore_path, rules, "v4", "127.0.0.1", ("127.0.0.1",))
    moved(crcore_path, rules, "v6", "::", ("::1", "127.0.0.1"))
    refused(crcore_path)
    failed(crcore_path, rules)
    killed(crcore_path, rules, kill_at)
    any_moment(crcore_path, rules)


jobs.run(test)
