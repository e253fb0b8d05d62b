# SPDX-License-Identifier: Apache-2.0
"""Servers with clients outside of the tree that never notice: redis-server with clients that
pipeline writes, nginx with downloads over connections that are kept alive, PostgreSQL with a
session in the middle of a transaction. An argument says how many MiB of data redis-server has."""
import os
import random
import socket
import subprocess
import jobs
import crtest
from crtest import Failure
from servers import ROUNDS, Client, Download, Server, Session, as_user, free_port, rounds


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


def redis(crcore_path, mib):
    crtest.need("redis-server")
    work, port = os.path.join(crtest.scratch(), "redis", "work"), free_port()
    server = Server(crcore_path, "redis",
                    [*as_user("redis", work), "redis-server", "--port", str(port), "--save", "",
                     "--bind", "127.0.0.1", "--enable-debug-command", "local"], port, work)
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"DEBUG POPULATE %d old 4096\r\n" % (mib << 8))
        if s.recv(99) != b"+OK\r\n":
            raise Failure("redis-server cannot be filled")
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


def nginx(crcore_path):
    if not os.path.exists("/usr/sbin/nginx"):
        raise crtest.Skip("nginx is not installed")
    work, port = os.path.join(crtest.scratch(), "nginx", "work"), free_port()
    os.makedirs(os.path.join(work, "root"))
    os.chmod(crtest.scratch(), 0o755)
    conf = os.path.join(work, "conf")
    with open(conf, "w") as f:
        f.write(NGINX.format(work=work, port=port))
    Download.make_large(os.path.join(work, "root"))
    server = Server(crcore_path, "nginx", ["/usr/sbin/nginx", "-c", conf, "-p", work], port, work)
    clients = [Download(port, i) for i in range(3)]
    rounds(server, clients)
    server.end()
    print(f"nginx: {sum(c.done for c in clients) * 20} MiB downloaded", flush=True)


def postgres(crcore_path):
    base = "/usr/lib/postgresql"
    folder = next((os.path.join(base, v, "bin") for v in
                   (sorted(os.listdir(base)) if os.path.isdir(base) else [])), None)
    if not folder:
        raise crtest.Skip("PostgreSQL is not installed")
    work, port = os.path.join(crtest.scratch(), "postgres", "work"), free_port()
    user = as_user("postgres", work)
    subprocess.run([*user, os.path.join(folder, "initdb"), "-N", "-A", "trust", "-D",
                    os.path.join(work, "data")], check=True, stdout=subprocess.DEVNULL, cwd=work,
                   env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
    server = Server(crcore_path, "postgres",
                    [*user, os.path.join(folder, "postgres"), "-D", os.path.join(work, "data"), "-p",
                     str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
                     "-c", "fsync=off", "-c", "shared_buffers=16MB"], port, work)
    crtest.wait_for("the database", crtest.LIMIT, lambda: subprocess.run(
        [os.path.join(folder, "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode == 0)
    a, b = (Session([os.path.join(folder, "psql"), "-X", "-At", "-h", "127.0.0.1", "-p", str(port), "-U",
                     "postgres", "postgres"], "\\echo done") for _ in range(2))
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


def test(crcore_path, mib="32"):
    postgres(crcore_path)
    redis(crcore_path, int(mib))
    nginx(crcore_path)


jobs.run(test)
