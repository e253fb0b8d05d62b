# SPDX-License-Identifier: Apache-2.0
"""A redis-server and its replica, restored in another network namespace at other addresses:
clients outside see the end of their connections, connect again to where the servers are now,
and find all that they were told is there. The connection between the two servers moves along."""
import os
import re
import socket
import jobs
import crtest
import link
from crtest import Failure
from servers import free_port

SERVERS = """
redis-server --port $1 --bind $3 $4 --save "" --protected-mode no --repl-diskless-sync-delay 0 >master &
redis-server --port $2 --bind $3 --save "" --protected-mode no --replicaof $3 $1 >replica &
wait
"""


class Client:
    def __init__(self, host, port):
        self.sock = socket.create_connection((host, port), timeout=60)
        self.replies = self.sock.makefile("rb")

    def say(self, *words):
        self.sock.sendall(b" ".join(words) + b"\r\n")
        line = self.replies.readline()
        if line[:1] != b"$":
            return line
        return self.replies.read(int(line[1:]) + 2)[:-2]

    def expect(self, wanted, *words):
        got = self.say(*words)
        if got != wanted:
            raise Failure(f"redis-server says {got!r} to {words}")

    def replication(self):
        text = self.say(b"INFO").decode()
        return dict(re.findall(r"^(\w+):([^\r]*)", text, re.MULTILINE))


def test(crcore_path):
    crtest.need("redis-server")
    crtest.need("ip")
    if not os.path.exists("/dev/net/tun"):
        raise crtest.Skip("the kernel has no tun devices")
    net = link.Link(delay=0.001, loss=0, late=0)
    top, work = crtest.scratch(), os.path.join(crtest.scratch(), "work")
    master, replica = free_port(), free_port()
    target = crtest.Target(["sh", "-c", SERVERS, "servers", str(master), str(replica), *link.HERE],
                           work, cwd=work)
    crtest.wait_for("the replica", crtest.LIMIT, lambda: "success" in target.read("replica"))
    clients = [net.far(lambda a=a: Client(a, master)) for a in 2 * link.HERE]
    for i, c in enumerate(clients):
        c.expect(b"+OK\r\n", b"SET", b"key-%d" % i, b"%d" % i)
        c.expect(b":1\r\n", b"WAIT", b"1", b"20000")
    crcore, image = crtest.Crcore(crcore_path, top), os.path.join(top, "image")
    crcore.dump(target.pid, image, "--tcp-close")
    target.killed()
    for c in clients:
        if c.sock.recv(9):
            raise Failure("a client gets more than the end of its connection")
    there = crtest.Crcore(crcore_path, top, ["nsenter", f"--net=/proc/{os.getpid()}/fd/{net.ns}"])
    there.count = crcore.count
    rc, _, err = there.run("restore", "-D", image, "-d")
    if not rc or "address-map" not in err:
        raise Failure(f"addresses that are not there: status {rc}, {err}")
    there.restore_detached(image, *(x for pair in zip(link.HERE, link.FAR)
                                    for x in ("--set", f"tcp.address-map+={pair[0]}={pair[1]}")))
    clients = [Client(a, master) for a in 2 * link.FAR]  # from here to there
    for i, c in enumerate(clients):
        c.expect(b"%d" % i, b"GET", b"key-%d" % i)
        c.expect(b"+OK\r\n", b"SET", b"new-%d" % i, b"%d" % i)
        c.expect(b":1\r\n", b"WAIT", b"1", b"20000")
    state = clients[0].replication()
    other = Client(link.FAR[0], replica)
    if (state["sync_full"], state["sync_partial_ok"], other.replication()["master_link_status"]) != \
            ("1", "0", "up"):
        raise Failure(f"the replica connected again: {state}")
    other.expect(b"3", b"GET", b"new-3")
    for c in (other, *clients):
        c.say(b"SHUTDOWN")
    crtest.wait_gone(target.pid)
    print(f"moved: {net.close()}")


jobs.run(test)
