# SPDX-License-Identifier: Apache-2.0
"""Bytes that say where they belong, both ways at once over one connection: a gap, a byte that
comes twice or a wrong one is seen where it happens. One end may be in the tree, the other in
the test."""
import os
import random
import select
import socket
import threading

import crtest

PART, BLOCK = 32768, 1000003


class Stream:
    """number: of the pair of ends, first: which of them this is."""

    def __init__(self, sock, number, first):
        self.sock, self.sent, self.received = sock, 0, 0
        self.stop = self.end_sent = self.end_seen = False
        sock.setblocking(False)
        # What waits at the end must not take long.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self.ours, self.theirs = (self.pattern(2 * number + (x != first)) for x in (True, False))

    @staticmethod
    def pattern(seed):
        block = random.Random(seed).randbytes(BLOCK)
        return memoryview(block + block[:PART])

    def done(self):
        return self.end_sent and self.end_seen

    def write(self):
        if self.stop:
            self.sock.shutdown(socket.SHUT_WR)
            self.end_sent = True
            return
        at = self.sent % BLOCK
        self.sent += self.sock.send(self.ours[at:at + PART])

    def read(self):
        got, at = self.sock.recv(PART), self.received % BLOCK
        if got != self.theirs[at:at + len(got)]:
            raise ValueError(f"what came at byte {self.received} is not what was sent there")
        self.received += len(got)
        self.end_seen = not got


def step(streams, seconds):
    """Does what can be done now, or within that time."""
    can_read, can_write, _ = select.select([x.sock for x in streams if not x.end_seen],
                                           [x.sock for x in streams if not x.end_sent], [], seconds)
    for x in streams:
        if x.sock in can_read:
            x.read()
        if x.sock in can_write:
            x.write()


def serve(streams, stop="stop", tell=None):
    """In the tree: until there is that file; says in "said" how many bytes the first ones had."""
    while not all(x.done() for x in streams):
        step(streams, 0.05)
        for x in streams:
            x.stop = os.path.exists(stop)
    with open("said.new", "w") as f:
        f.write(" ".join(f"{x.sent} {x.received}" for x in streams[:tell]))
    os.rename("said.new", "said")


class Peers(threading.Thread):
    """In the test: the other ends."""

    def __init__(self, target, socks):
        super().__init__(daemon=True)
        self.target = target
        self.streams = [Stream(s, i, False) for i, s in enumerate(socks)]
        self.failure = None
        self.start()

    def run(self):
        try:
            while not all(x.done() for x in self.streams):
                step(self.streams, 0.05)
        except (OSError, ValueError) as e:
            self.failure = e

    def more(self, least):
        """All have gone on, in both directions."""
        for x in self.streams:
            sent, received = x.sent, x.received
            crtest.wait_for("more bytes", crtest.LIMIT, lambda: self.failure or (
                x.sent > sent + least and x.received > received + least))
        if self.failure:
            raise crtest.Failure(f"a peer: {self.failure}")

    def finish(self):
        """Every byte has arrived; gives their number."""
        open(self.target.path("stop"), "w").close()
        for x in self.streams:
            x.stop = True
        self.join(60)
        if self.failure or self.is_alive():
            raise crtest.Failure(f"a peer: {self.failure or 'is stuck'}")
        crtest.wait_for("the tree's counts", crtest.LIMIT, lambda: self.target.read("said"))
        crtest.wait_gone(self.target.pid)
        said, counted = self.target.read("said"), " ".join(f"{x.received} {x.sent}" for x in self.streams)
        if said != counted:
            raise crtest.Failure(f"the tree counted {said}, its peers {counted}")
        for x in self.streams:
            x.sock.close()
        return sum(x.sent + x.received for x in self.streams)
