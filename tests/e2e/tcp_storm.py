# SPDX-License-Identifier: Apache-2.0
"""nginx with clients that connect, ask, and connect again, as fast as they can, while it is dumped
and restored: each of their connections is answered, wherever in its life it was (tcp.in-flight:
keep, tcp.listening: hold). Once with one socket for all workers, once with one for each
(SO_REUSEPORT)."""
import os
import socket

import jobs
import crtest
import nft
from crtest import Failure
from servers import Client, Server, free_port, rounds

NGINX = """
daemon off; worker_processes 2; pid {work}/pid; error_log {work}/error;
events {{ worker_connections 256; }}
http {{
    access_log off; server_tokens off;
    client_body_temp_path {work}/body; proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi; uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
    server {{ listen 127.0.0.1:{port} {how}; root {work}; location / {{ return 200 "$arg_n "; }} }}
}}
"""
CLIENTS = 12


class Caller(Client):
    """One connection a request."""

    def work(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as s:
            s.sendall(b"GET /?n=%d HTTP/1.0\r\n\r\n" % self.done)
            answer = b""
            while part := s.recv(1000):
                answer += part
        if not answer.endswith(b"\r\n\r\n%d " % self.done):
            raise Failure(f"to request {self.done}: {answer!r}")


def storm(crcore_path, rules, name, how):
    before = rules.ruleset()
    work, port = os.path.join(crtest.scratch(), name, "work"), free_port()
    os.makedirs(work)
    os.chmod(crtest.scratch(), 0o755)
    conf = os.path.join(work, "conf")
    with open(conf, "w") as f:
        f.write(NGINX.format(work=work, port=port, how=how))
    server = Server(crcore_path, name, ["/usr/sbin/nginx", "-c", conf, "-p", work], port, work)
    server.options = ("--set", "tcp.in-flight=keep", "--set", "tcp.listening=hold")
    clients = [Caller(port, i) for i in range(CLIENTS)]
    rounds(server, clients)
    server.end()
    if rules.ruleset() != before:
        raise Failure(f"rules were left:\n{rules.ruleset()}")
    print(f"{name}: {sum(c.done for c in clients)} connections, all answered", flush=True)


def test(crcore_path):
    if not os.path.exists("/usr/sbin/nginx"):
        raise crtest.Skip("nginx is not installed")
    rules = nft.Nft()
    storm(crcore_path, rules, "shared", "")
    storm(crcore_path, rules, "reuseport", "reuseport")


jobs.run(test)
