# SPDX-License-Identifier: Apache-2.0
"""Without nftables, be it that the library is missing or that the kernel does not know it, the
network lock is made of programs at network devices: connections to outside go on through dumps
and restores, over IPv4 and IPv6; none is left afterwards, nor when crcore is killed; between a
dump and its restore they are there."""
import ctypes
import fcntl
import os
import signal
import socket
import struct
import termios
import time

import jobs
import crtest
import stream
from crtest import Failure

# Streams over IPv4 and IPv6, and a connection of each that it does not look at.
TREE = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
import stream
s = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
with open("port.new", "w") as f: f.write(str(s.getsockname()[1]))
os.rename("port.new", "port")
taken = [s.accept()[0] for _ in range(4)]
stream.serve([stream.Stream(taken[i], i, True) for i in range(2)])
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


def unanswered(s):
    """Bytes that the other end has not acknowledged."""
    return struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, b"\0" * 4))[0]


def rounds(crcore, t, peers, quiet, env, unable, before):
    for i in range(4):
        if i == 2:
            env = unable
        peers.more(100000)
        image = os.path.join(crtest.scratch(), f"image-{i}")
        crcore.dump(t.pid, image, "--tcp-established", env=env)
        t.killed() if i == 0 else crtest.wait_gone(t.pid)
        if programs() != before + 2:
            raise Failure(f"{programs()} programs between dump and restore, before {before}")
        for s in quiet:  # an answer would be a reset
            s.sendall(b"meanwhile")
        crcore.restore_detached(image, env=env)
        if programs() != before:
            raise Failure(f"{programs()} programs after the restore, before {before}")
        for s in quiet:
            crtest.wait_for("an acknowledgement", crtest.LIMIT, lambda: not unanswered(s))
            if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise Failure("a connection was reset meanwhile")


def kills(crcore, t, peers, env, before):
    for i in range(5):
        p = crcore.start("dump", "-t", t.pid, "-D", os.path.join(crtest.scratch(), f"killed-{i}"),
                         "-R", "--tcp-established", env=env)
        time.sleep(i * 0.008)
        os.kill(p.pid, signal.SIGKILL)
        crcore.finish(p)
        crtest.wait_for("crcore to be gone", crtest.LIMIT, lambda: not crtest.running(crcore.path))
        if programs() != before:
            raise Failure(f"{programs()} programs after a kill, before {before}")
        peers.more(1)


def test(crcore_path, library):
    before = programs()
    work, none, bad = (os.path.join(crtest.scratch(), x) for x in ("work", "none", "bad"))
    for folder in work, none, bad:
        os.mkdir(folder)
    open(os.path.join(none, "libnftables.so.1"), "w").close()  # no library
    os.symlink(os.path.abspath(library), os.path.join(bad, "libnftables.so.1"))
    env, unable = ({**crtest.NO_LEAK_SEARCH,
                    "LD_LIBRARY_PATH": f"{x}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
                   for x in (none, bad))
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    t = crtest.Target([jobs.python(), "-c", TREE, os.path.dirname(stream.__file__)], work, cwd=work)
    crtest.wait_for("the port", crtest.LIMIT, lambda: t.read("port"))
    socks = [socket.create_connection((host, int(t.read("port"))), crtest.LIMIT)
             for _ in range(2) for host in ("127.0.0.1", "::1")]
    peers, quiet = stream.Peers(t, socks[:2]), socks[2:]
    rounds(crcore, t, peers, quiet, env, unable, before)
    kills(crcore, t, peers, env, before)
    rc, _, err = crcore.run("dump", "-t", t.pid, "-D", os.path.join(crtest.scratch(), "hold"), "-R",
                            "--set", "tcp.listening=hold", "--tcp-established", env=env)
    if not rc or "nftables" not in err:
        raise Failure(f"held without nftables: {rc} {err}")
    print(f"{peers.finish() >> 20} MiB", flush=True)


jobs.run(test)
