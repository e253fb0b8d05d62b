# SPDX-License-Identifier: Apache-2.0
"""crcore is killed (kill -9 of the process that does the work) at every single call between the
first socket that is put in repair mode and the last that is taken out of it: no socket of the
tree is left in that mode or with other options, no rule is left, and its peer never notices."""
import ctypes
import os
import socket

import jobs
import crtest
import nft
from crtest import Failure

ECHO = """
import os, socket
s = socket.create_server(("127.0.0.1", 0)) # sets SO_REUSEADDR
with open("port.new", "w") as f: f.write(str(s.getsockname()[1]))
os.rename("port.new", "port")
c = s.accept()[0]
c.setsockopt(socket.SOL_SOCKET, 42, 2) # SO_PEEK_OFF
open("ready", "w").close()
while True:
    data = c.recv(100)
    if not data:
        break
    c.sendall(data)
"""
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438
REPAIR = 19
LIMIT = 200  # calls of one dump; there are at least six


def fd_of(pid):
    """Of the connection: the last socket."""
    found = [int(x) for x in os.listdir(f"/proc/{pid}/fd")
             if os.readlink(f"/proc/{pid}/fd/{x}").startswith("socket:")]
    return max(found)


def options(pid, fd):
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = libc.syscall(SYS_PIDFD_OPEN, pid, 0)
    copy = libc.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0)
    if copy < 0:
        raise Failure(f"the socket of {pid}: {os.strerror(ctypes.get_errno())}")
    os.close(pidfd)
    with socket.socket(fileno=copy) as s:
        return {name: s.getsockopt(level, number) for name, level, number in
                (("TCP_REPAIR", socket.IPPROTO_TCP, REPAIR),
                 ("SO_REUSEADDR", socket.SOL_SOCKET, socket.SO_REUSEADDR),
                 ("SO_OOBINLINE", socket.SOL_SOCKET, socket.SO_OOBINLINE),
                 ("SO_PEEK_OFF", socket.SOL_SOCKET, 42))}


def talk(client, number):
    data = f"message {number}".encode()
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        part = client.recv(100)
        if not part:
            raise Failure(f"the connection ended when crcore was killed at call {number}")
        got += part
    if got != data:
        raise Failure(f"{got!r} came back for {data!r}")


def test(crcore_path, kill_at):
    rules = nft.Nft()
    work = os.path.join(crtest.scratch(), "work")
    os.mkdir(work)
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    t = crtest.Target([jobs.python(), "-c", ECHO], work, cwd=work)
    crtest.wait_for("the port", crtest.LIMIT, lambda: os.path.exists(t.path("port")))
    client = socket.create_connection(("127.0.0.1", int(t.read("port"))), crtest.LIMIT)
    crtest.wait_for("the program", crtest.LIMIT, lambda: os.path.exists(t.path("ready")))
    talk(client, 0)
    fd, ruleset = fd_of(t.pid), rules.ruleset()
    before = options(t.pid, fd)
    for n in range(1, LIMIT):
        env = {**os.environ, "LD_PRELOAD": os.path.abspath(kill_at), "CRCORE_KILL_AT": str(n),
               **(crtest.NO_LEAK_SEARCH or {})}
        rc, _, err = crcore.run("dump", "-t", t.pid, "-D", os.path.join(crtest.scratch(), f"image-{n}"),
                                "-R", "--tcp-established", env=env)
        crtest.wait_for("crcore to be gone", crtest.LIMIT, lambda: not crtest.running(crcore_path))
        talk(client, n)
        after = options(t.pid, fd)
        if after != before or rules.ruleset() != ruleset:
            raise Failure(f"killed at call {n}: {after}, before {before}\n{rules.ruleset()}")
        if not rc:
            break
    if rc or n < 6:
        raise Failure(f"after {n} calls: {rc} {err}")
    t.proc.kill()
    t.proc.wait()
    print(f"killed at each of {n - 1} calls", flush=True)


jobs.run(test)
