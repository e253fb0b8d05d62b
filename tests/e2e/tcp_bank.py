# SPDX-License-Identifier: Apache-2.0
"""A restore of hundreds of connections is killed (kill -9 of the process that does the work) right
after it has taken some of them out of where they wait, when there is nothing that could be taken
back any more: all of them go on, whoever brings it to its end."""
import os
import socket

import jobs
import crtest
from crtest import Failure

CONNECTIONS = 450  # more than two messages of descriptors
TAKEN = (1, 2)
ECHO = """
import os, select, socket, sys
poll, by = select.epoll(), {}
for i in range(%d):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    by[s.fileno()] = s
    poll.register(s.fileno(), select.EPOLLIN)
open("ready", "w").close()
while not os.path.exists("stop"):
    for fd, _ in poll.poll(0.05):
        by[fd].sendall(by[fd].recv(100))
""" % CONNECTIONS


def talk(peers, number):
    for i, p in enumerate(peers):
        p.sendall(b"%d %d" % (number, i))
    for i, p in enumerate(peers):
        if p.recv(100) != b"%d %d" % (number, i):
            raise Failure(f"connection {i} of {len(peers)} ends, or says something else")


def test(crcore_path, kill_at):
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    work = os.path.join(crtest.scratch(), "work")
    with socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as listener:
        port = str(listener.getsockname()[1])
        t = crtest.Target([jobs.python(), "-c", ECHO, port], work, cwd=work)
        peers = [listener.accept()[0] for _ in range(CONNECTIONS)]
    for p in peers:
        p.settimeout(crtest.LIMIT / 3)
    crtest.wait_for("connections", crtest.LIMIT, lambda: os.path.exists(t.path("ready")))
    for n in TAKEN:
        image = os.path.join(crtest.scratch(), f"image-{n}")
        talk(peers, n)
        crcore.dump(t.pid, image, "--tcp-established")
        if n == TAKEN[0]:
            t.killed()
        crtest.wait_gone(t.pid)
        env = {"LD_PRELOAD": os.path.abspath(kill_at), "CRCORE_KILL_TAKEN": str(n),
               **(crtest.NO_LEAK_SEARCH or {})}
        crcore.must("restore", "-d", "-D", image, env=env)
        with open(crcore.log, encoding="utf-8", errors="replace") as f:
            if "restored," in f.read():
                raise Failure(f"it was not killed: {n} messages were not taken")
        crtest.wait_for("crcore to be gone", 20, lambda: not crtest.running(crcore_path))
        talk(peers, 10 + n)
    open(t.path("stop"), "w").close()
    crtest.wait_gone(t.pid)


jobs.run(test)
