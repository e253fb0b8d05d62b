# SPDX-License-Identifier: Apache-2.0
"""Apache with processes of its own for each connection (prefork), whose turn is ruled by a
semaphore of System V: one of them holds it, and will undo that at its end, the others wait.
Taken away and brought back between requests; then the one that holds it is killed."""
import http.client
import os
import signal
import jobs
import crtest
import groups
from crtest import Failure

MODULES = "/usr/lib/apache2/modules"
PORT = 8088
CONF = """
ServerRoot {work}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {work}/pid
ErrorLog {work}/error
LoadModule mpm_prefork_module {modules}/mod_mpm_prefork.so
LoadModule authz_core_module {modules}/mod_authz_core.so
Mutex {mutex}
StartServers 4
MinSpareServers 4
MaxSpareServers 4
KeepAlive Off
User nobody
Group nogroup
DocumentRoot {work}/www
"""


class Server:
    def __init__(self, crcore_path, mutex):
        self.top = os.path.join(crtest.scratch(), mutex)
        self.work = os.path.join(self.top, "work")
        os.makedirs(os.path.join(self.work, "www"))
        for name, text in (("conf", CONF.format(work=self.work, port=PORT, modules=MODULES, mutex=mutex)),
                           ("www/page", "hello " * 1000)):
            with open(os.path.join(self.work, name), "w") as f:
                f.write(text)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.target = crtest.Target(["/usr/sbin/apache2", "-DFOREGROUND", "-f",
                                     os.path.join(self.work, "conf")], self.work, cwd=self.work)
        crtest.wait_for("the server", crtest.LIMIT, self.answers)
        crtest.wait_for("its children", crtest.LIMIT, lambda: len(self.children()) >= 4)

    def children(self):
        return crtest.snapshot.children(self.target.pid)

    def answers(self):
        if not crtest.start_time(self.target.pid):
            raise Failure("the server ended\n" + self.target.read("stderr") + self.target.read("error"))
        try:
            return len(self.get())
        except OSError:
            return 0

    def get(self):
        c = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
        try:
            c.request("GET", "/page")
            return c.getresponse().read()
        finally:
            c.close()

    def many(self):
        for _ in range(40):
            if self.get() != b"hello " * 1000:
                raise Failure("a page differs")

    def quiet(self):
        """No connection of ours is left in a process of the tree."""
        def connected():
            with open("/proc/net/tcp") as f:
                return [x for x in f if f":{PORT:04X} " in x and x.split()[3] not in ("0A", "06")]
        crtest.wait_for("the end of all connections", crtest.LIMIT, lambda: not connected())

    def move(self, i):
        image = os.path.join(self.top, f"image-{i}")
        before = self.children()
        self.quiet()

        def away_and_back():
            self.crcore.dump(self.target.pid, image)
            if i == 0:
                self.target.killed()
            crtest.wait_gone(self.target.pid)
            self.crcore.restore_detached(image)

        groups.while_paused(self.target.pid, (groups.V1, groups.V2)[i % 2], away_and_back)
        if self.children() != before:
            raise Failure(f"children: {before}, now {self.children()}")

    def end(self):
        os.kill(self.target.pid, signal.SIGTERM)
        crtest.wait_gone(self.target.pid)
        with open("/proc/sysvipc/sem") as f:
            if len(f.readlines()) > 1:
                raise Failure("the server left semaphores behind")


def one(crcore_path, mutex):
    s = Server(crcore_path, mutex)
    s.many()
    for i in range(2):
        s.move(i)
        s.many()
    # What a killed one held is undone, as System V can: the others go on.
    for pid in s.children() if mutex == "sysvsem" else []:
        os.kill(pid, signal.SIGKILL)
        crtest.wait_gone(pid)  # on its way out it could still accept a connection
        s.many()
    s.end()
    print(f"Apache prefork, mutex {mutex}: moved twice", flush=True)


def test(crcore_path):
    if not os.path.exists("/usr/sbin/apache2"):
        raise crtest.Skip("Apache is not installed")
    one(crcore_path, "sysvsem")
    one(crcore_path, "posixsem")


jobs.run(test)
