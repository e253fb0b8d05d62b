# SPDX-License-Identifier: Apache-2.0
"""A network between two namespaces that is slow, loses packets and lets some overtake others:
a tun interface on each side and a process that carries the packets. (The kernel's own, netem,
is not in every kernel.) It counts what it did, and the resets of TCP that it saw."""
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import threading
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
HERE, FAR = ("10.91.0.1", "fd91::1"), ("10.91.0.2", "fd91::2")


class Link:
    """delay: seconds, each way; loss, late: parts of 1, late ones take up to three times as long."""

    def __init__(self, delay, loss, late, seed=1):
        self.libc = ctypes.CDLL(None, use_errno=True)
        fds = [interface(HERE), in_thread(self.enter_new)]
        self.relay = subprocess.Popen(
            [sys.executable, "-B", __file__, *map(str, (*fds, delay, loss, late, seed))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=fds)
        for fd in fds:
            os.close(fd)

    def check(self, ret):
        if ret:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def enter_new(self):
        self.check(self.libc.unshare(CLONE_NEWNET))
        self.ns = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        return interface(FAR)

    def far(self, fn):
        """What fn() gives on the far side; a socket that is made there stays there."""
        def inside():
            self.check(self.libc.setns(self.ns, CLONE_NEWNET))
            return fn()
        return in_thread(inside)

    def close(self):
        """The counts: carried, lost, late, resets."""
        out, _ = self.relay.communicate()
        os.close(self.ns)
        return dict(zip(("carried", "lost", "late", "resets"), map(int, out.split())))


def in_thread(fn):
    ret = []
    thread = threading.Thread(target=lambda: ret.append(fn()))
    thread.start()
    thread.join()
    return ret[0]


def interface(addresses):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"link0", IFF_TUN | IFF_NO_PI))
    for ip, bits in zip(addresses, (24, 64)):
        subprocess.run(["ip", "address", "add", f"{ip}/{bits}", "dev", "link0",
                        *(["nodad"] if bits == 64 else [])], check=True)
    for name in ("lo", "link0"):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    return fd


def is_reset(packet):
    v4 = packet[0] >> 4 == 4
    start, protocol = ((packet[0] & 15) * 4, packet[9]) if v4 else (40, packet[6])
    return protocol == 6 and bool(packet[start + 13] & 4)


def relay(here, far, delay, loss, late, seed):
    """Until the end of its standard input."""
    rng, waiting = random.Random(seed), []
    carried = lost = slow = resets = 0
    other = {here: far, far: here}
    while True:
        limit = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        for fd in select.select([0, here, far], [], [], limit)[0]:
            if fd == 0:
                print(carried, lost, slow, resets)
                return
            packet = os.read(fd, 65536)
            resets += is_reset(packet)
            if rng.random() < loss:
                lost += 1
                continue
            carried += 1
            when = time.monotonic() + delay
            if rng.random() < late:
                when += delay * rng.uniform(0.5, 2)
                slow += 1
            heapq.heappush(waiting, (when, carried, other[fd], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, fd, packet = heapq.heappop(waiting)
            os.write(fd, packet)


if __name__ == "__main__":
    relay(int(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:6]), int(sys.argv[6]))
