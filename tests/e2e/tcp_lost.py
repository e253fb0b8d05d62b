# SPDX-License-Identifier: Apache-2.0
"""What a connection had sent, and its peer outside has not got, comes at once after a restore: no
timer of the kernel has to run out for it. Segments are as large as they were, so that a small
window of the peer does not keep the rest waiting either."""
import os
import shutil
import socket
import jobs
import crtest
import nft
from crtest import Failure

TRIES = 5  # on a busy machine the timer may run out before the restore is complete
TREE = """
import os, socket, struct, sys, time
listener = socket.create_server(("127.0.0.1", 0))
def tell(name, *what):
    with open(name + ".new", "w") as f:
        print(*what, file=f)
    os.rename(name + ".new", name)
def wait(name):
    while not os.path.exists(name):
        time.sleep(0.01)
def facts():
    info = c.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    again, = struct.unpack_from("I", info, 100)  # tcpi_total_retrans
    return c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), again
tell("port", listener.getsockname()[1])
c = listener.accept()[0]
c.setblocking(False)
c.send(b"y")
wait("more")
sent = c.send(b"x" * int(sys.argv[1]))
tell("sent", sent, *facts())
wait("tell")
tell("told", *facts())
wait("go")
"""


def once(crcore_path, rules, size):
    """How many segments the kernel has sent again, which it does when its timer runs out."""
    top = os.path.join(crtest.scratch(), "lost")
    shutil.rmtree(top, ignore_errors=True)
    work, image = os.path.join(top, "work"), os.path.join(top, "image")
    target = crtest.Target([jobs.python(), "-c", TREE, str(size)], work, cwd=work)
    crtest.wait_for("the port", crtest.LIMIT, lambda: target.read("port"))
    port = int(target.read("port"))
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    peer.settimeout(crtest.LIMIT)
    peer.connect(("127.0.0.1", port))
    if peer.recv(1) != b"y":
        raise Failure("no connection")
    rules.run("table inet lossy { chain in { type filter hook input priority 0; "
              f"tcp sport {port} drop; }}; }}")
    open(target.path("more"), "w").close()
    crtest.wait_for("what is sent", crtest.LIMIT, lambda: target.read("sent"))
    sent, mss, _ = map(int, target.read("sent").split())
    crcore = crtest.Crcore(crcore_path, top)
    crcore.dump(target.pid, image, "--tcp-established")
    target.killed()
    rules.run("delete table inet lossy")
    crcore.must("restore", "-D", image, "-d")
    got = 0
    while got < sent:
        got += len(peer.recv(1 << 20))
    open(target.path("tell"), "w").close()
    crtest.wait_for("its facts", crtest.LIMIT, lambda: target.read("told"))
    now, again = map(int, target.read("told").split())
    open(target.path("go"), "w").close()
    crtest.wait_gone(target.pid, crtest.LIMIT)
    peer.close()
    if not again and now != mss:  # else they follow how the window has grown
        raise Failure(f"its segments were of {mss} bytes, and are of {now}")
    return again


def test(crcore_path):
    rules = nft.Nft()
    for size in (20000, 3000000):
        for _ in range(TRIES):
            again = once(crcore_path, rules, size)
            if not again:
                break
        else:
            raise Failure(f"of {size} bytes: the kernel had to send {again} segments again")
        print(f"{size} bytes: at once", flush=True)


jobs.run(test)
