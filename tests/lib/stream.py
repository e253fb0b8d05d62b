# SPDX-License-Identifier: Apache-2.0
"""Bytes that say where they belong, both ways at once over one connection: a gap, a byte that
comes twice or a wrong one is seen where it happens. One end may be in the tree, the other in
the test."""
import random
import select
import socket

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
