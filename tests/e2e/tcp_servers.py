# SPDX-License-Identifier: Apache-2.0
"""Real servers with clients outside of the tree that never notice: redis-server with clients
that pipeline writes, nginx with downloads over connections that are kept alive, PostgreSQL with
a session in the middle of a transaction. Each is dumped and restored three times in a row."""
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
import jobs
import crtest
from crtest import Failure

ROUNDS = 3


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Server:
    def __init__(self, crcore_path, name, argv, port, work):
        self.top = os.path.join(crtest.scratch(), name)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.name, self.port, self.mine = name, port, True
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
            rc, _, err = self.crcore.run("dump", "-t", self.pid, "-D", image, "--tcp-established")
            if not rc:
                break
            if "waits to be accepted" not in err and "is being made" not in err:
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


class RedisClient(Client):
    BATCH = 200

    def begin(self):
        self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.replies = self.sock.makefile("rb")

    def value(self, i):
        return random.Random(self.number * 1000003 + i).randbytes(500)

    def send(self, *words):
        out = b"*%d\r\n" % len(words)
        for w in words:
            out += b"$%d\r\n%s\r\n" % (len(w), w)
        return out

    def work(self):
        first = self.done * self.BATCH
        out = b"".join(self.send(b"SET", b"%d:%d" % (self.number, first + i), self.value(first + i))
                       for i in range(self.BATCH))
        self.sock.sendall(out)
        for _ in range(self.BATCH):
            line = self.replies.readline()
            if line != b"+OK\r\n":
                raise Failure(f"the server says {line!r}")

    def finish(self):
        for i in range(0, self.done * self.BATCH, 97):
            self.sock.sendall(self.send(b"GET", b"%d:%d" % (self.number, i)))
            if self.replies.readline() != b"$500\r\n" or self.replies.read(502)[:500] != self.value(i):
                raise Failure(f"value {i} is not what was written")
        self.sock.close()


def redis(crcore_path):
    crtest.need("redis-server")
    work, port = os.path.join(crtest.scratch(), "redis", "work"), free_port()
    server = Server(crcore_path, "redis",
                    ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"],
                    port, work)
    clients = [RedisClient(port, i) for i in range(10)]
    rounds(server, clients)
    server.end()
    print(f"redis-server: {sum(c.done for c in clients) * RedisClient.BATCH} writes", flush=True)


NGINX = """
daemon off; worker_processes 2; pid {work}/pid; error_log {work}/error;
events {{ worker_connections 256; }}
http {{
    access_log off; sendfile on; keepalive_requests 100000; server_tokens off;
    client_body_temp_path {work}/body; proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi; uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
    server {{ listen 127.0.0.1:{port}; root {work}/root; }}
}}
"""


class Download(Client):
    digest = None

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


def nginx(crcore_path):
    if not os.path.exists("/usr/sbin/nginx"):
        raise crtest.Skip("nginx is not installed")
    work, port = os.path.join(crtest.scratch(), "nginx", "work"), free_port()
    os.makedirs(os.path.join(work, "root"))
    os.chmod(crtest.scratch(), 0o755)
    conf = os.path.join(work, "conf")
    with open(conf, "w") as f:
        f.write(NGINX.format(work=work, port=port))
    large = os.path.join(work, "root", "large")
    with open(large, "wb") as f:
        f.write(random.Random(1).randbytes(20 << 20))
    Download.digest = jobs.sha256(large)
    server = Server(crcore_path, "nginx", ["/usr/sbin/nginx", "-c", conf, "-p", work], port, work)
    clients = [Download(port, i) for i in range(3)]
    rounds(server, clients)
    server.end()
    print(f"nginx: {sum(c.done for c in clients) * 20} MiB downloaded", flush=True)


class Session:
    """psql in the middle of something."""

    def __init__(self, folder, port):
        self.psql = subprocess.Popen(
            [os.path.join(folder, "psql"), "-X", "-At", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres",
             "postgres"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})

    def say(self, text):
        """What psql prints until it has done that."""
        self.psql.stdin.write(text + "\n\\echo done\n")
        self.psql.stdin.flush()
        lines = []
        for line in self.psql.stdout:
            if line == "done\n":
                return "".join(lines)
            lines.append(line)
        raise Failure(f"psql ended: {lines}")

    def expect(self, text, wanted):
        got = self.say(text)
        if wanted not in got:
            raise Failure(f"psql: {text}: {got!r}")

    def end(self):
        self.psql.stdin.close()
        self.psql.wait(60)
        self.psql.stdout.close()


def postgres(crcore_path):
    base = "/usr/lib/postgresql"
    folder = next((os.path.join(base, v, "bin") for v in
                   (sorted(os.listdir(base)) if os.path.isdir(base) else [])), None)
    if not folder:
        raise crtest.Skip("PostgreSQL is not installed")
    work, port = os.path.join(crtest.scratch(), "postgres", "work"), free_port()
    user = pwd.getpwnam("postgres")
    os.makedirs(work)
    os.chown(work, user.pw_uid, user.pw_gid)
    as_user = ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    subprocess.run([*as_user, os.path.join(folder, "initdb"), "-N", "-A", "trust", "-D",
                    os.path.join(work, "data")], check=True, stdout=subprocess.DEVNULL, cwd=work,
                   env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
    server = Server(crcore_path, "postgres",
                    [*as_user, os.path.join(folder, "postgres"), "-D", os.path.join(work, "data"), "-p",
                     str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
                     "-c", "fsync=off", "-c", "shared_buffers=16MB"], port, work)
    crtest.wait_for("the database", crtest.LIMIT, lambda: subprocess.run(
        [os.path.join(folder, "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode == 0)
    a, b = Session(folder, port), Session(folder, port)
    b.say("create table t (n int);")
    a.say("listen news; prepare put as insert into t values ($1);")
    for i in range(ROUNDS):
        a.expect("begin; execute put(1);", "INSERT")
        server.round(i)
        b.expect("select count(*) from t;", f"{2 * i}\n")
        a.expect("execute put(2); commit;", "COMMIT")
        b.expect(f"notify news, 'round {i}';", "NOTIFY")
        a.expect("select 7;", f'"round {i}"')
    a.end()
    b.end()
    server.end()
    print("PostgreSQL: a session in three transactions", flush=True)


def test(crcore_path):
    postgres(crcore_path)
    redis(crcore_path)
    nginx(crcore_path)


jobs.run(test)
