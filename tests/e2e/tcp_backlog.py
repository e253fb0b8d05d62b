# SPDX-License-Identifier: Apache-2.0
"""Connections from outside that nobody has accepted yet wait again after a restore
(tcp.in-flight: keep), in their order, with what they have sent, or its end, or a reset: IPv4, IPv6
and v4-mapped, from this machine and from afar. A dump that fails after it took them out puts them
back. The peers notice nothing."""
import os
import signal
import subprocess

import jobs
import crtest
import link
import nft
from backlogs import Case, SHAPES, connect
from crtest import Failure


def moved(crcore_path, rules, name, listen, hosts, env=None):
    before = rules.ruleset()
    c = Case(crcore_path, name, listen, hosts)
    for i in range(2):
        c.move(i == 0, env)
    c.finish()
    if rules.ruleset() != before:
        raise Failure(f"rules were left:\n{rules.ruleset()}")
    print(f"{name}: {len(c.peers)} connections were accepted after two restores", flush=True)


def without_nftables(crcore_path, rules):
    """The network lock is made of programs then, at the same device as the one for this."""
    none = os.path.join(crtest.scratch(), "none")
    os.mkdir(none)
    open(os.path.join(none, "libnftables.so.1"), "w").close()
    env = {**crtest.NO_LEAK_SEARCH,
           "LD_LIBRARY_PATH": f"{none}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
    moved(crcore_path, rules, "without nftables", "::", ("::1", "127.0.0.1"), env)


def far(crcore_path):
    """Peers in another network namespace, through a network that is slow and loses packets. What
    comes from there by another device is no good."""
    with open("/proc/sys/net/ipv4/conf/all/rp_filter", "w") as f:
        f.write("1")
    net = link.Link(delay=0.005, loss=0.02, late=0.05)
    c = Case(crcore_path, "far", "::", link.HERE, [x for x in SHAPES if "ConnectionResetError" not in x],
             lambda *to: net.far(lambda: connect(*to)))
    for i in range(2):
        c.move(i == 0)
    c.finish()
    counts = net.close()
    if not counts["lost"]:  # resets are for segments that come when both ends have closed
        raise Failure(f"the network: {counts}")
    print(f"far: {len(c.peers)} connections, {counts}", flush=True)


def failed(crcore_path, rules):
    """There is no room for the memory of the tree, which is saved after all else."""
    before = rules.ruleset()
    c = Case(crcore_path, "failed", "::", ("127.0.0.1", "::1"))
    small = os.path.join(c.top, "small")
    os.mkdir(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", small], check=True)
    rc, _, err = c.crcore.run("dump", "-t", c.t.pid, "-D", os.path.join(small, "image"), "--set",
                              "tcp.in-flight=keep")
    subprocess.run(["umount", small], check=True)
    if not rc or "space" not in err:
        raise Failure(f"a dump without room: {rc} {err}")
    c.quiet()
    c.finish()
    c.t.proc.wait()
    if rules.ruleset() != before:
        raise Failure(f"rules were left:\n{rules.ruleset()}")
    print("failed: a dump that failed put all back", flush=True)


def cookies(on):
    """In the network namespace of this test."""
    with open("/proc/sys/net/ipv4/tcp_syncookies", "w") as f:
        f.write("1" if on else "0")


def refused(crcore_path):
    """Without SYN cookies the kernel cannot be told; that is said before anything happens. A tree that
    goes on keeps who waits."""
    c = Case(crcore_path, "refused", "127.0.0.1", ("127.0.0.1",), ((1,), (300, "closed")))
    keep = ("--set", "tcp.in-flight=keep")

    def must_fail(words, *args):
        rc, _, err = c.crcore.run(*args)
        if not rc or words not in err:
            raise Failure(f"{args}: {rc} {err}")
        c.quiet()

    must_fail("waits to be accepted", "dump", "-t", c.t.pid, "-D", c.image())
    cookies(False)
    must_fail("SYN cookies", "dump", "-t", c.t.pid, "-D", c.image(), *keep)
    cookies(True)
    c.crcore.dump(c.t.pid, c.image(), "-R", *keep)
    c.quiet()
    image = c.image()
    c.crcore.dump(c.t.pid, image, *keep)
    c.t.killed()
    cookies(False)
    rc, _, err = c.crcore.run("restore", "-D", image, "-d", stdout=subprocess.DEVNULL)
    cookies(True)
    if not rc or "SYN cookies" not in err:
        raise Failure(f"restored without SYN cookies: {rc} {err}")
    c.crcore.restore_detached(image)
    c.finish()
    crtest.wait_gone(c.t.pid)
    # The policy in force at the restore may want less.
    c.peers = []
    c.crcore.restore_detached(image, "--set", "tcp.in-flight=drop")
    c.quiet()
    os.kill(c.t.pid, signal.SIGKILL)
    crtest.wait_gone(c.t.pid)
    print("refused: where the kernel does not take them", flush=True)


DEFER = """
import os, socket, time
s = socket.create_server(("127.0.0.1", 0))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
own = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)
with open("port.new", "w") as f: f.write(str(s.getsockname()[1]))
os.rename("port.new", "port")
while not os.path.exists("go"):
    time.sleep(0.01)
assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) == own
for i in range(2):
    c = s.accept()[0]
    c.sendall(c.recv(100))
"""


def deferred(crcore_path):
    """TCP_DEFER_ACCEPT: those who have sent nothing are half connected here, wholly there."""
    top = os.path.join(crtest.scratch(), "deferred")
    work, image = os.path.join(top, "work"), os.path.join(top, "image")
    os.makedirs(work)
    t = crtest.Target([jobs.python(), "-c", DEFER], work, cwd=work)
    crtest.wait_for("the port", crtest.LIMIT, lambda: os.path.exists(t.path("port")))
    peers = [connect("127.0.0.1", int(t.read("port"))) for _ in range(2)]
    crcore = crtest.Crcore(crcore_path, top)
    crcore.dump(t.pid, image, "--tcp-established")
    t.killed()
    crcore.restore_detached(image)
    open(t.path("go"), "w").close()
    for p in peers:
        p.sendall(b"hello")
        if p.recv(100) != b"hello":
            raise Failure("a peer whose connection was deferred got no answer")
    crtest.wait_gone(t.pid)
    print("deferred: those who had said nothing were served", flush=True)


def test(crcore_path):
    crtest.need("ip")
    rules = nft.Nft()
    deferred(crcore_path)
    moved(crcore_path, rules, "v4", "127.0.0.1", ("127.0.0.1",))
    moved(crcore_path, rules, "v6", "::", ("::1", "127.0.0.1"))
    without_nftables(crcore_path, rules)
    if os.path.exists("/dev/net/tun"):
        far(crcore_path)
    refused(crcore_path)
    failed(crcore_path, rules)


jobs.run(test)
