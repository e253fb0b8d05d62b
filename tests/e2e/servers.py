# SPDX-License-Identifier: Apache-2.0
"""Real servers whose clients are outside of the tree and never notice that it is dumped and
restored, several times in a row: what the tests of each have in common."""
import hashlib
import http.client
import os
import pwd
import random
import signal
import socket
import subprocess
import threading
import time
import crtest
from crtest import Failure

ROUNDS = 3
AGAIN = ("waits to be accepted", "is being made", "try again in a moment") # what passes by itself


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def as_user(name, folder):
    """The beginning of a command that runs it as this user, to whom the folder is given."""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise crtest.Skip(f"there is no user {name}") from None
    os.makedirs(folder, exist_ok=True)
    os.chown(folder, user.pw_uid, user.pw_gid)
    os.chmod(crtest.scratch(), 0o755)
    return ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]


class Server:
    def __init__(self, crcore_path, name, argv, port, work):
        self.top = os.path.join(crtest.scratch(), name)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.name, self.port, self.mine, self.options = name, port, True, ()
        self.target = crtest.Target(argv, work, cwd=work)
        self.pid = self.target.pid
        crtest.wait_for(name, crtest.LIMIT, self.answers)

    def answers(self):
        if self.target.proc.poll() is not None:
            raise Failure(f"{self.name}: {self.target.read('stderr')}{self.target.read('stdout')}")
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        except OSError:
            return False

    def round(self, i):
        image = os.path.join(self.top, f"image-{i}")
        for _ in range(50):
            rc, _, err = self.crcore.run("dump", "-t", self.pid, "-D", image, "--tcp-established",
                                        *self.options)
            if not rc:
                break
            if not any(x in err for x in AGAIN):
                raise Failure(f"dump of {self.name}: {err}{self.crcore.tail()}")
            time.sleep(0.02)
        if self.mine:
            self.target.killed()
        self.mine = False
        crtest.wait_gone(self.pid)
        self.crcore.restore_detached(image)
        subprocess.run(["rm", "-rf", image], check=True)

    def end(self):
        tree = crtest.snapshot.tree(self.pid)  # the master first: it would start other workers
        for pid in tree:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has ended with its master
        if self.mine:
            self.target.proc.wait()
        for pid in tree:
            crtest.wait_gone(pid)


class Client(threading.Thread):
    """Works until it is told to stop; what goes wrong is kept."""

    def __init__(self, port, number):
        super().__init__(daemon=True)
        self.port, self.number = port, number
        self.done, self.stop, self.failure = 0, False, None
        self.start()

    def run(self):
        try:
            self.begin()
            while not self.stop:
                self.work()
                self.done += 1
            self.finish()
        except Exception as e:  # whatever it is, it must not have happened
            self.failure = e

    def begin(self):
        pass

    def finish(self):
        pass


def some_more(clients):
    before = [c.done for c in clients]
    for c, n in zip(clients, before):
        crtest.wait_for("a client to go on", crtest.LIMIT, lambda: c.done > n + 1 or c.failure)
        if c.failure:
            raise Failure(f"client {c.number}: {c.failure!r}")


def rounds(server, clients):
    for i in range(ROUNDS):
        some_more(clients)
        server.round(i)
    some_more(clients)
    for c in clients:
        c.stop = True
    for c in clients:
        c.join(60)
        if c.failure or c.is_alive():
            raise Failure(f"client {c.number}: {c.failure!r}")


class Download(Client):
    """The file /large by HTTP, over one connection that is kept alive."""
    SIZE = 20 << 20

    @classmethod
    def make_large(cls, folder):
        data = random.Random(1).randbytes(cls.SIZE)
        with open(os.path.join(folder, "large"), "wb") as f:
            f.write(data)
        cls.digest = hashlib.sha256(data).hexdigest()

    def begin(self):
        self.http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.http.connect()
        self.http.auto_open = 0  # a connection that is lost is a failure

    def work(self):
        self.http.request("GET", "/large")
        with self.http.getresponse() as answer:
            digest = hashlib.file_digest(answer, "sha256").hexdigest()
        if digest != self.digest:
            raise Failure("another file came")

    def finish(self):
        self.http.close()


class Session:
    """A client that is a program of commands, in the middle of something; `mark` has it print
    "done" on a line of its own."""

    def __init__(self, argv, mark):
        self.mark = mark
        self.client = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})

    def say(self, text):
        """What it prints until it has done that."""
        self.client.stdin.write(f"{text}\n{self.mark}\n")
        self.client.stdin.flush()
        lines = []
        for line in self.client.stdout:
            if line == "done\n":
                return "".join(lines)
            lines.append(line)
        raise Failure(f"the client ended: {lines}")

    def expect(self, text, wanted):
        got = self.say(text)
        if wanted not in got:
            raise Failure(f"{text}: {got!r}")

    def end(self):
        self.client.stdin.close()
        self.client.wait(60)
        self.client.stdout.close()
