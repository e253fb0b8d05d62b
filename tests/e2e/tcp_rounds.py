# SPDX-License-Identifier: Apache-2.0
"""Rounds of dump and restore while streams flow to peers outside, in half of which crcore is
killed with kill -9 at a random moment. No byte is lost, and afterwards the rules of nftables,
the sockets, namespaces and processes are what they were. An argument says how many rounds."""
import collections
import os
import random
import shutil
import socket
import time
import jobs
import crtest
import nft
import stream
from crtest import Failure

# Two processes with two connections each, and one between them.
TREE = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
import stream
listener = socket.create_server(("127.0.0.1", 0))
open("port.new", "w").write(str(listener.getsockname()[1]))
os.rename("port.new", "port")
streams = [stream.Stream(listener.accept()[0], i, True) for i in range(4)]
inner = socket.create_connection(listener.getsockname())
inner = inner, listener.accept()[0]
child = os.fork()
if not child:
    os.mkdir("child")
    os.chdir("child")
    own = [stream.Stream(inner[1], 9, False)]
    stream.serve(own, "../stop")
    os._exit(0)
stream.serve([*streams, stream.Stream(inner[0], 9, True)], "stop", 4)
os.waitpid(child, 0)
"""
# As many machines have one: it knows connections, and drops what belongs to none.
FIREWALL = """
table inet mine {
    set refused { type inet_service; flags interval; elements = { 1, 2, 7000-7010 }; }
    map marks { type inet_service : mark; elements = { 80 : 0x1, 443 : 0x2 }; }
    counter odd { }
    chain early { type filter hook prerouting priority raw; tcp dport @refused drop; }
    chain in { type filter hook input priority filter; policy drop;
        ct state invalid counter name odd drop
        ct state established,related accept
        ct state new tcp flags & (syn | ack) == syn accept; }
    chain out { type filter hook output priority filter; policy drop;
        ct state established,related,new meta mark set tcp dport map @marks
        ct state established,related,new accept; }
}
"""


def world(rules):
    """What must be as it was, but for the tree itself."""
    sockets = collections.Counter()
    for name in ("tcp", "tcp6", "udp", "raw", "raw6", "netlink", "packet", "unix"):
        with open(f"/proc/net/{name}") as f:
            for line in f.readlines()[1:]:
                words = line.split()
                sockets[name, tuple(words[1:4] if name in ("tcp", "tcp6") else words[2:3])] += 1
    namespaces = {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in crtest.pids()
                  for kind in os.listdir(f"/proc/{pid}/ns")}
    return rules.ruleset(), sockets, sorted(namespaces), sorted(crtest.pids())


class Rounds:
    def __init__(self, crcore_path, target, rules, peers, others):
        self.others = others  # processes that are not of the tree
        self.path, self.target, self.rules, self.peers = crcore_path, target, rules, peers
        self.crcore = crtest.Crcore(crcore_path, crtest.scratch())
        self.rng = random.Random(int(os.environ.get("CRCORE_TEST_SEED", "1")))
        self.seen = collections.Counter()
        self.mine, self.took = True, {}
        self.free = rules.ruleset()

    def alive(self):
        return crtest.start_time(self.target.pid) != 0

    def gone(self):
        if self.mine:
            self.target.killed()
        self.mine = False
        crtest.wait_gone(self.target.pid)

    def whole(self, what, *args):
        start = time.monotonic()
        self.crcore.must(what, *args)
        self.took[what] = time.monotonic() - start

    def killed(self, i, what, *args):
        p = self.crcore.start(what, *args, env=crtest.NO_LEAK_SEARCH)
        time.sleep(self.rng.uniform(0, self.took[what]))
        crtest.kill_some(p, i)
        self.crcore.finish(p)
        crtest.wait_for("crcore to be gone", 20, lambda: not crtest.running(self.path))

    def round(self, i):
        image = os.path.join(crtest.scratch(), "image")
        dump = "dump", "-t", self.target.pid, "-D", image, "--tcp-established"
        restore = "restore", "-D", image, "-d"
        kill = ("", "dump", "", "restore")[i % 4] if i > 1 else ""
        if kill == "dump":
            self.killed(i // 4, *dump)
        if kill != "dump" or self.alive():
            self.seen["dumps killed"] += kill == "dump"
            shutil.rmtree(image, ignore_errors=True)
            self.whole(*dump)
        self.gone()
        done = False
        if kill == "restore":
            self.killed(i // 4, *restore)
            done = self.rules.ruleset() == self.free  # the lock is away: the tree is there to stay
            if not done:
                crtest.wait_for("the end of what was half built", crtest.LIMIT,
                                lambda: not set(crtest.pids()) - self.others)
        if not done:
            self.seen["restores killed"] += kill == "restore"
            self.whole(*restore)
        self.seen["rounds"] += 1
        shutil.rmtree(image)


def test(crcore_path, rounds="12"):
    rules = nft.Nft()
    rules.run(FIREWALL)
    work = os.path.join(crtest.scratch(), "work")
    others = set(crtest.pids())
    target = crtest.Target([jobs.python(), "-c", TREE, os.path.dirname(stream.__file__)], work, cwd=work)
    crtest.wait_for("the port", crtest.LIMIT, lambda: target.read("port"))
    peers = stream.Peers(target, [socket.create_connection(("127.0.0.1", int(target.read("port"))))
                                  for _ in range(4)])
    peers.more(100000)
    r = Rounds(crcore_path, target, rules, peers, others)
    before = world(rules)
    for i in range(int(rounds)):
        r.round(i)
        peers.more(100000)
        for was, now, name in zip(before, world(rules), ("rules", "sockets", "namespaces", "processes")):
            if was != now:
                raise Failure(f"{name} before: {was}\nafter round {i}: {now}")
    print(f"{dict(r.seen)}, {peers.finish() >> 20} MiB", flush=True)


jobs.run(test)
