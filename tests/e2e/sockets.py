# SPDX-License-Identifier: Apache-2.0
"""Programs that stream through UNIX sockets, checkpointed several times in the middle; and
a socket whose peer is outside, by each value of external-unix."""
import os
import socket
import time
import jobs
import crtest
from crtest import Failure

OUTSIDE = """
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
s.settimeout(10)
try:
    s.sendall(b"hello")
    answer = s.recv(99).decode()
except BrokenPipeError:
    answer = "closed " + repr(s.recv(9))
with open("answer.new", "w") as f:
    f.write(answer)
os.rename("answer.new", "answer")
"""


class Patient(crtest.Crcore):
    """Dumps again if a connection with data in it has not been accepted yet."""

    def dump(self, pid, images, *args, **kw):
        for _ in range(50):
            rc, out, err = self.run("dump", "-t", pid, "-D", images, *args, **kw)
            if not rc:
                return out
            if "nobody has accepted yet" not in err:
                break
            time.sleep(0.02)
        raise Failure(f"crcore dump: status {rc}\n{err}{self.tail()}")


def results(folder):
    path = os.path.join(folder, "output")
    return {"output": jobs.sha256(path)} if os.path.exists(path) else {}


class Outside:
    """A client in the tree, its server here."""

    def __init__(self, crcore_path, name):
        self.top = os.path.join(crtest.scratch(), name)
        self.work = os.path.join(self.top, "work")
        os.makedirs(self.work)
        self.path = os.path.join(self.top, "server")
        self.server = socket.socket(socket.AF_UNIX)
        self.server.settimeout(20)
        self.server.bind(self.path)
        self.server.listen()
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.target = crtest.Target([jobs.python(), "-c", OUTSIDE, self.path], self.work,
                                    cwd=self.work)
        crtest.wait_for("the client", crtest.LIMIT, lambda: self.there("ready"))
        self.connection = self.server.accept()[0]
        self.image = os.path.join(self.top, "image")

    def there(self, name):
        return os.path.exists(os.path.join(self.work, name))

    def move(self, how):
        self.crcore.dump(self.target.pid, self.image, "--set",
                         f"sockets.external-unix+={self.top}/*={how}")
        self.target.killed()
        self.crcore.restore_detached(self.image)

    def answer(self):
        open(os.path.join(self.work, "go"), "w").close()

    def expect(self, text):
        crtest.wait_for("the answer", crtest.LIMIT, lambda: self.there("answer"))
        with open(os.path.join(self.work, "answer")) as f:
            got = f.read()
        if got != text:
            raise Failure(f"the client got {got!r} and not {text!r}")
        crtest.wait_gone(self.target.pid)


def outside(crcore_path):
    o = Outside(crcore_path, "close")
    rc, _, err = o.crcore.run("dump", "-t", o.target.pid, "-D", o.image)
    if not rc or o.path not in err or "outside the tree" not in err or "external-unix" not in err:
        raise Failure(f"a peer outside: status {rc}, {err}")
    o.move("close")
    o.answer()
    o.expect("closed b''")
    o = Outside(crcore_path, "reconnect")
    o.move("reconnect")
    connection = o.server.accept()[0]
    o.answer()
    if connection.recv(99) != b"hello":
        raise Failure("the server got something else")
    connection.sendall(b"and you")
    o.expect("and you")
    print("outside: refused, closed, connected again", flush=True)


def test(crcore_path):
    outside(crcore_path)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sockets_job.py")
    rounds = "60" if jobs.SHORT else "400"
    job = jobs.Job(crcore_path, [jobs.python(), script, "output", rounds], results)
    job.crcore = Patient(crcore_path, job.top)
    job.undisturbed()
    job.disturbed(3)
    job.left_running(3)


jobs.run(test)
