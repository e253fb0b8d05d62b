# SPDX-License-Identifier: Apache-2.0
"""A server that does not accept, and peers outside of the tree who wait for it: what the tests of
backlogs have in common."""
import hashlib
import os
import random
import select
import socket
import struct

import jobs
import crtest
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

    def __init__(self, sock, size, end="open", urgent=False):
        self.sock = sock
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


def connect(host, port):
    return socket.create_connection((host, port), crtest.LIMIT)


class Case:
    def __init__(self, crcore_path, name, listen, hosts, shapes=SHAPES, connect=connect):
        self.top = os.path.join(crtest.scratch(), name)
        work = os.path.join(self.top, "work")
        os.makedirs(work)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        count = len(shapes) * len(hosts)
        self.t = crtest.Target([jobs.python(), "-c", SERVER, listen, str(count)], work, cwd=work)
        crtest.wait_for("the port", crtest.LIMIT, lambda: os.path.exists(self.t.path("port")))
        self.port = port = int(self.t.read("port"))
        self.peers = [Peer(connect(host, port), *shape) for shape in shapes for host in hosts]
        crtest.wait_for("all to be there", crtest.LIMIT, lambda: self.waiting() == count)
        self.images = 0

    def image(self):
        self.images += 1
        return os.path.join(self.top, f"image-{self.images}")

    def move(self, mine, env=None):
        image = self.image()
        self.crcore.dump(self.t.pid, image, "--set", "tcp.in-flight=keep", env=env)
        self.t.killed() if mine else crtest.wait_gone(self.t.pid)
        for p in self.peers:
            p.quiet()
        self.crcore.restore_detached(image, env=env)
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
