# SPDX-License-Identifier: Apache-2.0
"""Who connects to a server between its dump and its restore waits for it (tcp.listening: hold),
at each of its addresses, IPv4 and IPv6; nothing else is held back, and no rule is left. A
client within the tree whose connection nobody has accepted yet is connected again even so."""
import os
import select
import socket

import jobs
import crtest
import nft
from crtest import Failure

ECHO = """
import os, selectors, socket, time
a = socket.create_server(("127.0.0.1", 0))
port = a.getsockname()[1]
b = socket.socket(socket.AF_INET6)
b.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
b.bind(("::", port))
b.listen(5)
c = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
own = socket.create_connection(("127.0.0.1", port)) # is in the backlog
with open("port.new", "w") as f: f.write(f"{port} {c.getsockname()[1]}")
os.rename("port.new", "port")
while not os.path.exists("go"):
    time.sleep(0.01)
sel = selectors.DefaultSelector()
for s in (a, b, c):
    sel.register(s, selectors.EVENT_READ)
own.sendall(b"own")
own.setblocking(False)
sel.register(own, selectors.EVENT_READ, "own")
while True:
    for key, _ in sel.select():
        s = key.fileobj
        if s in (a, b, c):
            sel.register(s.accept()[0], selectors.EVENT_READ)
            continue
        data = s.recv(100)
        if key.data == "own":
            with open("own.new", "wb") as f: f.write(data)
            os.rename("own.new", "own")
        elif data:
            s.sendall(data)
        if not data or key.data:
            sel.unregister(s)
            s.close()
"""


def begin(host, port):
    """A connection that is being made."""
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.setblocking(False)
    s.connect_ex((host, port))
    return s


def refused(s):
    select.select([], [s], [], crtest.LIMIT)
    error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    s.close()
    return error


def test(crcore_path):
    rules = nft.Nft()
    before = rules.ruleset()
    work, image = os.path.join(crtest.scratch(), "work"), os.path.join(crtest.scratch(), "image")
    os.mkdir(work)
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    t = crtest.Target([jobs.python(), "-c", ECHO], work, cwd=work)
    crtest.wait_for("the port", crtest.LIMIT, lambda: os.path.exists(t.path("port")))
    port, other = map(int, t.read("port").split())
    hold = ("--set", "tcp.listening=hold")
    crcore.dump(t.pid, f"{image}-R", "-R", *hold)
    if rules.ruleset() != before:
        raise Failure(f"a tree that went on is held back:\n{rules.ruleset()}")
    crcore.dump(t.pid, image, *hold)
    t.killed()
    waiting = [begin(*to) for to in (("127.0.0.1", port), ("::1", port), ("::1", other),
                                     ("127.0.0.1", other))]
    if not refused(begin("127.0.0.2", port)):
        raise Failure("somebody listens at 127.0.0.2")
    if select.select([], waiting, [], 0.3)[1]:
        raise Failure("who connected meanwhile got an answer")
    crcore.restore_detached(image)
    if rules.ruleset() != before:
        raise Failure(f"after the restore:\n{rules.ruleset()}")
    open(t.path("go"), "w").close()
    for s in waiting:
        s.settimeout(crtest.LIMIT)
        if not select.select([], [s], [], crtest.LIMIT)[1] or s.getsockopt(socket.SOL_SOCKET,
                                                                           socket.SO_ERROR):
            raise Failure("who waited was not let in")
        s.sendall(b"hello")
        if s.recv(5, socket.MSG_WAITALL) != b"hello":
            raise Failure("no echo")
        s.close()
    crtest.wait_for("the tree's own client", crtest.LIMIT, lambda: t.read("own") == "own")
    # Without it they are refused.
    crcore.dump(t.pid, f"{image}-2")
    crtest.wait_gone(t.pid)
    if not refused(begin("127.0.0.1", port)):
        raise Failure("somebody listens after the dump")
    if rules.ruleset() != before:
        raise Failure(f"without the option:\n{rules.ruleset()}")
    print("those who connect wait for the restore", flush=True)


jobs.run(test)
