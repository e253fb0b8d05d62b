# SPDX-License-Identifier: Apache-2.0
"""Without nftables the network lock is made of programs at network devices: connections to
outside go on through dumps and restores, over IPv4 and IPv6, none is left afterwards, nor when
crcore is killed; between a dump and its restore they are there."""
import ctypes
import os
import signal
import socket
import struct
import threading
import time

import jobs
import crtest
from crtest import Failure

ECHO = """
import os, selectors, socket
s = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
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
        key.fileobj.sendall(data) if data else sel.unregister(key.fileobj)
"""
SYS_BPF, PROG_QUERY, LOOPBACK = 321, 16, 1
INGRESS, EGRESS = 46, 47


def programs():
    """How many are at the loopback device."""
    found = 0
    for way in (INGRESS, EGRESS):
        ids = ctypes.create_string_buffer(256)
        attr = ctypes.create_string_buffer(
            struct.pack("IIIIQI", LOOPBACK, way, 0, 0, ctypes.addressof(ids), 64), 144)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(SYS_BPF, PROG_QUERY, attr, 144) < 0:
            raise crtest.Skip(f"no programs at devices: {os.strerror(ctypes.get_errno())}")
        found += struct.unpack_from("IIIIQI", attr.raw)[5]
    return found


class Client(threading.Thread):
    """Sends numbered lines and checks what comes back."""

    def __init__(self, host, port):
        super().__init__(daemon=True)
        self.sock = socket.create_connection((host, port), crtest.LIMIT)
        self.count, self.stop, self.failure = 0, False, None

    def run(self):
        try:
            while not self.stop:
                data = f"{self.count:08}".encode() * 1000
                self.sock.sendall(data)
                got = b""
                while len(got) < len(data):
                    part = self.sock.recv(len(data) - len(got))
                    if not part:
                        raise Failure("the connection ended")
                    got += part
                if got != data:
                    raise Failure("other bytes came back")
                self.count += 1
        except (OSError, Failure) as e:
            self.failure = e

    def more(self):
        at = self.count
        crtest.wait_for("more bytes", crtest.LIMIT, lambda: self.count > at + 1 or self.failure)
        if self.failure:
            raise Failure(f"a client: {self.failure}")


def test(crcore_path):
    before = programs()
    work = os.path.join(crtest.scratch(), "work")
    none = os.path.join(crtest.scratch(), "none")
    os.mkdir(work)
    os.mkdir(none)
    open(os.path.join(none, "libnftables.so.1"), "w").close()  # no library
    env = {**crtest.NO_LEAK_SEARCH,
           "LD_LIBRARY_PATH": f"{none}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    t = crtest.Target([jobs.python(), "-c", ECHO], work, cwd=work)
    crtest.wait_for("the port", crtest.LIMIT, lambda: os.path.exists(t.path("port")))
    hosts, port = ("127.0.0.1", "::1"), int(t.read("port"))
    clients = [Client(host, port) for host in hosts]
    quiet = [socket.create_connection((host, port), crtest.LIMIT) for host in hosts]
    for s in quiet: # it has been accepted
        s.sendall(b"at first")
        s.recv(8, socket.MSG_WAITALL)
    for c in clients:
        c.start()
        c.more()
    for i in range(3):
        image = os.path.join(crtest.scratch(), f"image-{i}")
        crcore.dump(t.pid, image, "--tcp-established", env=env)
        t.killed() if i == 0 else crtest.wait_gone(t.pid)
        if programs() != before + 2:
            raise Failure(f"{programs()} programs between dump and restore, before {before}")
        for s in quiet: # an answer would be a reset
            s.sendall(b"meanwhile")
        crcore.restore_detached(image, env=env)
        for s in quiet:
            if s.recv(9, socket.MSG_WAITALL) != b"meanwhile":
                raise Failure("what was sent meanwhile did not come back")
        if programs() != before:
            raise Failure(f"{programs()} programs after the restore, before {before}")
        for c in clients:
            c.more()
    for i in range(5):
        p = crcore.start("dump", "-t", t.pid, "-D", os.path.join(crtest.scratch(), f"killed-{i}"),
                         "-R", "--tcp-established", env=env)
        time.sleep(i * 0.008)
        os.kill(p.pid, signal.SIGKILL)
        crcore.finish(p)
        crtest.wait_for("crcore to be gone", crtest.LIMIT, lambda: not crtest.running(crcore_path))
        if programs() != before:
            raise Failure(f"{programs()} programs after a kill, before {before}")
        for c in clients:
            c.more()
    rc, _, err = crcore.run("dump", "-t", t.pid, "-D", os.path.join(crtest.scratch(), "hold"), "-R",
                            "--set", "tcp.listening=hold", "--tcp-established", env=env)
    if not rc or "nftables" not in err:
        raise Failure(f"held without nftables: {rc} {err}")
    for c in clients:
        c.more()
        c.stop = True
        c.join(crtest.LIMIT)
        if c.failure or c.is_alive():
            raise Failure(f"a client: {c.failure or 'is stuck'}")
    os.kill(t.pid, signal.SIGKILL)
    crtest.wait_gone(t.pid)
    print(f"{sum(c.count for c in clients)} answers", flush=True)


jobs.run(test)
