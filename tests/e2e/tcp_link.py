# SPDX-License-Identifier: Apache-2.0
"""Streams in both directions to peers in another network namespace, through a network that is
slow, loses packets and lets some overtake others; the tree is dumped and restored meanwhile,
several times. No byte is missing, none comes twice, and no reset passes."""
import os
import socket
import jobs
import crtest
import link
import stream
from crtest import Failure

ROUNDS = 4
# One connection that it takes, by IPv4, and one that it makes, by IPv6.
TREE = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
import stream
taken = socket.create_server((sys.argv[2], 0))
open("port.new", "w").write(str(taken.getsockname()[1]))
os.rename("port.new", "port")
made = socket.create_connection((sys.argv[3], int(sys.argv[4])))
streams = [stream.Stream(taken.accept()[0], 0, True), stream.Stream(made, 1, True)]
taken.close()
stream.serve(streams)
"""


def test(crcore_path):
    crtest.need("ip")
    if not os.path.exists("/dev/net/tun"):
        raise crtest.Skip("the kernel has no tun devices")
    net = link.Link(delay=0.005, loss=0.02, late=0.05)
    work = os.path.join(crtest.scratch(), "work")
    listener = net.far(lambda: socket.create_server((link.FAR[1], 0), family=socket.AF_INET6))
    target = crtest.Target([jobs.python(), "-c", TREE, os.path.dirname(link.__file__), link.HERE[0],
                            link.FAR[1], str(listener.getsockname()[1])], work, cwd=work)
    crtest.wait_for("the tree's port", crtest.LIMIT, lambda: target.read("port"))
    there = net.far(lambda: socket.create_connection((link.HERE[0], int(target.read("port")))))
    peers = stream.Peers(target, [there, listener.accept()[0]])
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    for i in range(ROUNDS):
        peers.more(500000)
        image = os.path.join(crtest.scratch(), f"image-{i}")
        crcore.dump(target.pid, image, "--tcp-established")
        if i == 0:
            target.killed()
        crtest.wait_gone(target.pid)
        crcore.restore_detached(image)
    peers.more(500000)
    total = peers.finish()
    listener.close()
    counts = net.close()
    if counts["resets"] or not counts["lost"] or not counts["late"]:
        raise Failure(f"the network: {counts}")
    print(f"{total >> 20} MiB, {ROUNDS} times away: {counts}")


jobs.run(test)
