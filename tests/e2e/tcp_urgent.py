# SPDX-License-Identifier: Apache-2.0
"""Urgent data that is still to be sent when the tree is saved arrives as urgent, at its place in the
stream: sent and not acknowledged, because the link is held; not sent yet, because the peer, outside
or in the tree, has no room."""
import fcntl
import os
import socket

import jobs
import crtest
import nft
from crtest import Failure

SIOCATMARK = 0x8905
MUCH = 400000  # more than a peer that reads nothing has room for

# Two connections to the peers outside, one within the tree.
TREE = """
import os, socket, sys, time
sys.path.insert(0, sys.argv[1])
import tcp_urgent
def talk(c, before):
    c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * before + 65536)
    c.sendall(b"x" * before)
    c.send(b"!", socket.MSG_OOB)
    c.sendall(b"behind")
    return c
def appears(name):
    while not os.path.exists(name):
        time.sleep(0.01)
outside = []
for before in 3, tcp_urgent.MUCH:
    outside.append(socket.create_connection(("127.0.0.1", int(sys.argv[2]))))
with socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    sender = socket.create_connection(listener.getsockname())
    reader = listener.accept()[0]
open("connected", "w").close()
appears("talk")
talk(outside[0], 3)
talk(outside[1], tcp_urgent.MUCH)
talk(sender, tcp_urgent.MUCH)
open("ready", "w").close()
appears("go")
with open("inside.new", "w") as f: f.write(str(tcp_urgent.mark_of(reader, tcp_urgent.MUCH)))
os.rename("inside.new", "inside")
appears("end")
"""


def mark_of(s, before):
    """Reads all up to the end of what is said; returns where the mark was, -1: nowhere."""
    s.settimeout(crtest.LIMIT)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    got, mark = b"", -1
    while not got.endswith(b"behind"):
        part = s.recv(65536)  # no further than to the mark
        if not part:
            break
        got += part
        at = int.from_bytes(fcntl.ioctl(s, SIOCATMARK, b"\0" * 4), "little")
        if at:
            mark = len(got)
    if got != b"x" * before + b"!behind":
        raise Failure(f"{len(got)} bytes arrived, of {before + 7}")
    return mark


def test(crcore_path):
    rules = nft.Nft()
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    work, image = os.path.join(crtest.scratch(), "work"), os.path.join(crtest.scratch(), "image")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        t = crtest.Target([jobs.python(), "-c", TREE, os.path.dirname(__file__), str(port)], work, cwd=work)
        peers = [listener.accept()[0], listener.accept()[0]]
    crtest.wait_for("connections", crtest.LIMIT, lambda: os.path.exists(t.path("connected")))
    held = peers[0].getpeername()[1]
    rules.run(f"table inet held {{ chain out {{ type filter hook output priority 0; "
              f"tcp sport {held} drop; }}; }}")
    open(t.path("talk"), "w").close()
    crtest.wait_for("data to be sent", crtest.LIMIT, lambda: os.path.exists(t.path("ready")))
    crcore.dump(t.pid, image, "--tcp-established")
    t.killed()
    crcore.restore_detached(image)
    rules.run("delete table inet held")
    for peer, before in zip(peers, (3, MUCH)):
        mark = mark_of(peer, before)
        if mark != before:
            raise Failure(f"to a peer outside: the mark is at {mark}, not at {before}")
    open(t.path("go"), "w").close()
    crtest.wait_for("the reader in the tree", crtest.LIMIT, lambda: t.read("inside"))
    if int(t.read("inside")) != MUCH:
        raise Failure(f"in the tree the mark is at {t.read('inside')}, not at {MUCH}")
    open(t.path("end"), "w").close()
    crtest.wait_gone(t.pid)


if __name__ == "__main__":
    jobs.run(test)
