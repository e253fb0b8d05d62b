# SPDX-License-Identifier: Apache-2.0
"""TCP connections to this test, which is outside of the tree: each value of the policy, the
network lock and what is left of it, kill -9 while it is up, another address, a connect that
is under way, and a network that loses packets."""
import os
import random
import signal
import socket
import subprocess
import threading
import time
import jobs
import crtest
import nft
from crtest import Failure

# Takes one connection, and then says what it gets; "go" in its folder ends the wait.
SERVER = """
import os, socket, sys, time
s = socket.create_server((sys.argv[1], int(sys.argv[2])))
with open("port.new", "w") as f: f.write(str(s.getsockname()[1]))
os.rename("port.new", "port")
c = s.accept()[0]
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
said = []
c.settimeout(20)
for step in (lambda: c.recv(99), lambda: c.recv(99), lambda: c.send(b"x")):
    try:
        said.append(repr(step()))
    except OSError as e:
        said.append(type(e).__name__)
with open("said.new", "w") as f: f.write(" ".join(said))
os.rename("said.new", "said")
while sys.argv[3] == "serve":
    c = s.accept()[0]
    c.sendall(c.recv(99))
    c.close()
"""
# Echoes whatever comes on each connection, for ever.
ECHO = """
import os, selectors, socket, sys
s = socket.create_server((sys.argv[1], 0), backlog=50,
                         family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET,
                         dualstack_ipv6=":" in sys.argv[1])
with open("port.new", "w") as f: f.write(str(s.getsockname()[1]))
os.rename("port.new", "port")
sel = selectors.DefaultSelector()
sel.register(s, selectors.EVENT_READ)
while True:
    for key, _ in sel.select():
        if key.fileobj is s:
            sel.register(s.accept()[0], selectors.EVENT_READ)
            continue
        data = key.fileobj.recv(65536)
        if data:
            key.fileobj.sendall(data)
        else:
            sel.unregister(key.fileobj)
            key.fileobj.close()
"""
CONNECT = """
import os, socket, sys, time
s = socket.socket()
s.setblocking(False)
s.connect_ex((sys.argv[1], int(sys.argv[2])))
open("ready", "w").close()
s.setblocking(True)
while not os.path.exists("go"):
    time.sleep(0.01)
s.connect_ex((sys.argv[1], int(sys.argv[2])))
s.sendall(b"here I am")
"""


class Case:
    """One program, and its images."""

    def __init__(self, crcore_path, name, code, *args):
        self.top = os.path.join(crtest.scratch(), name)
        self.work = os.path.join(self.top, "work")
        os.makedirs(self.work)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.target = crtest.Target([jobs.python(), "-c", code, *map(str, args)], self.work,
                                    cwd=self.work)
        self.pid = self.target.pid
        self.mine = True
        self.images = 0

    def wait(self, name):
        path = os.path.join(self.work, name)
        crtest.wait_for(name, crtest.LIMIT, lambda: os.path.exists(path))
        with open(path) as f:
            return f.read()

    def connect(self, host="127.0.0.1"):
        s = socket.create_connection((host, int(self.wait("port"))), timeout=60)
        s.settimeout(60)
        return s

    def dump(self, *args):
        self.images += 1
        self.image = os.path.join(self.top, f"image-{self.images}")
        self.crcore.dump(self.pid, self.image, *args)
        if self.mine:
            self.target.killed()
        crtest.wait_gone(self.pid)
        self.mine = False

    def restore(self, *args):
        self.crcore.restore_detached(self.image, *args)

    def go(self):
        open(os.path.join(self.work, "go"), "w").close()

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        if self.mine:
            self.target.proc.wait()
        crtest.wait_gone(self.pid)


def expect(what, got, wanted):
    if got != wanted:
        raise Failure(f"{what}: {got!r} and not {wanted!r}")


def outcome(fn):
    try:
        return repr(fn())
    except OSError as e:
        return type(e).__name__


def policies(crcore_path, rules):
    before = rules.ruleset()
    for how, said, client in (("close", "b'early' b'' BrokenPipeError", "b''"),
                              ("reset", "ConnectionResetError b'' BrokenPipeError",
                               "ConnectionResetError")):
        c = Case(crcore_path, "policy-" + how, SERVER, "127.0.0.1", 0, "once")
        s = c.connect()
        s.sendall(b"early")
        c.wait("ready")
        rc, _, err = c.crcore.run("dump", "-t", c.pid, "-D", os.path.join(c.top, "no"))
        if not rc or "outside the tree" not in err or "--tcp-established" not in err:
            raise Failure(f"a connection to outside: status {rc}, {err}")
        port = c.wait("port")
        c.dump("--set", f"tcp.connections+=in local *:{port} remote 127.0.0.0/8={how}")
        if how == "close":  # bytes that were not read: the kernel itself says it with a reset
            outcome(lambda: s.recv(9))
        else:
            expect("the client of " + how, outcome(lambda: s.recv(9)), client)
        c.restore()
        c.go()
        expect("the server of " + how, c.wait("said"), said)
        crtest.wait_gone(c.pid)
    # Kept by the dump, closed by the restore.
    c = Case(crcore_path, "policy-late", SERVER, "127.0.0.1", 0, "once")
    s = c.connect()
    c.wait("ready")
    c.dump("--tcp-established")
    c.restore("--tcp-close")
    c.go()
    expect("the server", c.wait("said"), "b'' b'' BrokenPipeError")
    crtest.wait_gone(c.pid)
    expect("rules afterwards", rules.ruleset(), before)
    print("policies: refused, closed, reset, closed later", flush=True)


class Stream(threading.Thread):
    """Sends and checks what comes back, until it is told to stop."""

    def __init__(self, sock, seed):
        super().__init__(daemon=True)
        self.sock, self.block = sock, random.Random(seed).randbytes(40000)
        self.total, self.failure, self.stop = 0, None, False

    def run(self):
        try:
            while not self.stop:
                self.sock.sendall(self.block)
                got = b""
                while len(got) < len(self.block):
                    part = self.sock.recv(len(self.block) - len(got))
                    if not part:
                        raise Failure("the connection ended")
                    got += part
                if got != self.block:
                    raise Failure("other bytes came back")
                self.total += len(got)
                time.sleep(0.001)
        except (OSError, Failure) as e:
            self.failure = e

    def more(self):
        at = self.total
        crtest.wait_for("more bytes", crtest.LIMIT, lambda: self.total > at or self.failure)
        if self.failure:
            raise Failure(f"a client: {self.failure}")

    def finish(self):
        self.stop = True
        self.join(60)
        if self.failure or self.is_alive():
            raise Failure(f"a client: {self.failure or 'is stuck'}")
        self.sock.close()


def lock(crcore_path, rules):
    """Streams that never notice; the rules are what they were, whatever happens."""
    rules.run("table inet other { chain i { type filter hook input priority 0; policy accept; "
              "tcp dport 1 drop; }; }")
    before = rules.ruleset()
    c = Case(crcore_path, "lock", ECHO, "127.0.0.1")
    streams = [Stream(c.connect(), i) for i in range(4)]
    for s in streams:
        s.start()
    for _ in range(3):
        c.dump("--tcp-established")
        during = rules.ruleset()
        if during.count("table inet crcore-") != 1 or "owner" in during:
            raise Failure(f"the lock between dump and restore:\n{during}")
        c.restore()
        expect("rules after the restore", rules.ruleset(), before)
        for s in streams:
            s.more()
    rc, _, err = c.crcore.run("dump", "-t", c.pid, "-D", os.path.join(c.top, "image-1"),
                              "--tcp-established")
    if not rc:
        raise Failure("a dump over an image succeeded")
    rng = random.Random(1)
    for i in range(12):  # kill -9 of crcore, of its worker, of both
        p = c.crcore.start("dump", "-t", c.pid, "-D", os.path.join(c.top, f"killed-{i}"), "-R",
                           "--tcp-established", env=crtest.NO_LEAK_SEARCH)
        time.sleep(rng.uniform(0, 0.06))
        crtest.kill_some(p, i)
        c.crcore.finish(p)
        crtest.wait_for("crcore to be gone", 20, lambda: not crtest.running(crcore_path))
        expect("rules after a kill", rules.ruleset(), before)
        for s in streams:
            s.more()
    killed_restores(c, crcore_path, rules, streams, before, rng)
    for s in streams:
        s.finish()
    c.end()
    rules.run("delete table inet other")
    print(f"lock: {sum(s.total for s in streams) >> 20} MiB echoed", flush=True)


def killed_restores(c, crcore_path, rules, streams, before, rng):
    """A restore that is killed leaves the peers waiting for the next."""
    c.dump("--tcp-established")
    between = rules.ruleset()
    done = False
    for i in range(9):
        p = c.crcore.start("restore", "-D", c.image, "-d", stdout=subprocess.DEVNULL,
                           env=crtest.NO_LEAK_SEARCH)
        time.sleep(rng.uniform(0, 0.05))
        with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
            children = [int(x) for x in f.read().split()]
        for pid in ([p.pid], children[:1])[i % 2]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        c.crcore.finish(p)
        crtest.wait_for("crcore to be gone", 20, lambda: not crtest.running(crcore_path))
        done = crtest.start_time(c.pid) != 0 and rules.ruleset() == before
        if done:  # it came too late
            break
        crtest.wait_gone(c.pid, 20)
        expect("rules after a killed restore", rules.ruleset(), between)
    if not done:
        c.restore()
    expect("rules after the restore", rules.ruleset(), before)
    for s in streams:
        s.more()


def ip(*args):
    subprocess.run(["ip", *args], check=True, stdin=subprocess.DEVNULL)


def moved(crcore_path):
    """The server wakes up at another address."""
    crtest.need("ip")
    ip("address", "add", "10.77.0.5/32", "dev", "lo")
    c = Case(crcore_path, "moved", SERVER, "10.77.0.5", 0, "serve")
    s = c.connect("10.77.0.5")
    c.wait("ready")
    c.dump("--tcp-close")
    s.close()
    ip("address", "del", "10.77.0.5/32", "dev", "lo")
    rc, _, err = c.crcore.run("restore", "-D", c.image, "-d")
    if not rc or "address-map" not in err:
        raise Failure(f"an address that is not here: status {rc}, {err}")
    ip("address", "add", "10.77.9.5/32", "dev", "lo")
    c.restore("--set", "tcp.address-map+=10.77.0.0/24=10.77.9.0/24")
    c.go()
    c.wait("said")
    s = c.connect("10.77.9.5")
    s.sendall(b"hello")
    expect("the answer", s.recv(9), b"hello")
    c.end()
    ip("address", "del", "10.77.9.5/32", "dev", "lo")
    print("moved to another address", flush=True)


def connecting(crcore_path, rules):
    """SYN_SENT: the answer comes only after the restore."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    rules.run(f"table inet block {{ chain i {{ type filter hook input priority 0; "
              f"tcp dport {port} drop; }}; }}")
    c = Case(crcore_path, "connecting", CONNECT, "127.0.0.1", port)
    c.wait("ready")
    c.dump()
    c.restore()
    rules.run("delete table inet block")
    server.settimeout(60)
    s = server.accept()[0]
    c.go()
    expect("from the client", s.recv(99), b"here I am")
    crtest.wait_gone(c.pid)
    print("a connect was made again", flush=True)


def lossy(crcore_path, rules):
    """One packet of thirty is lost, in both directions."""
    rules.run("table inet lossy { chain i { type filter hook input priority 0; "
              "meta l4proto tcp numgen random mod 30 == 7 drop; }; }")
    c = Case(crcore_path, "lossy", ECHO, "::")  # one of them v4-mapped
    streams = [Stream(c.connect(host), i) for i, host in enumerate(("::1", "127.0.0.1"))]
    for s in streams:
        s.start()
        s.more()
    for _ in range(2):
        c.dump("--tcp-established")
        c.restore()
        for s in streams:
            s.more()
    rules.run("delete table inet lossy")
    for s in streams:
        s.finish()
    c.end()
    print("through a network that loses packets", flush=True)


def test(crcore_path):
    rules = nft.Nft()
    policies(crcore_path, rules)
    lock(crcore_path, rules)
    moved(crcore_path)
    connecting(crcore_path, rules)
    lossy(crcore_path, rules)


jobs.run(test)
