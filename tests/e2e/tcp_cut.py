# SPDX-License-Identifier: Apache-2.0
"""The policies close and reset as real clients and servers see them: a curl in the tree whose
server is outside says what it says when a server ends, or is reset; so do redis-cli outside,
whose server is in the tree; and that server works on for those who connect again."""
import os
import socket
import subprocess
import jobs
import crtest
from crtest import Failure
from servers import Server, free_port

# What they say with each: curl's status and words, and those of redis-cli.
CURL = {"close": (18, "transfer closed with 500000 bytes remaining"),
        "reset": (56, "Connection reset by peer")}
REDIS_CLI = {"close": "Server closed the connection", "reset": "Connection reset by peer"}
JOB = """
curl -sS --max-time 120 -o got http://127.0.0.1:$1/ 2>said
echo $? >status.new
mv status.new status
"""


def curl(crcore_path, how):
    """Half of the file has come."""
    top = os.path.join(crtest.scratch(), "curl-" + how)
    work = os.path.join(top, "work")
    server = socket.create_server(("127.0.0.1", 0))
    target = crtest.Target(["sh", "-c", JOB, "job", str(server.getsockname()[1])], work, cwd=work)
    s = server.accept()[0]
    s.recv(9999)
    s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(500000))
    crtest.wait_for("half of it", crtest.LIMIT, lambda: os.path.exists(target.path("got")) and
                    os.path.getsize(target.path("got")) > 490000)
    crcore, image = crtest.Crcore(crcore_path, top), os.path.join(top, "image")
    crcore.dump(target.pid, image, "--set", f"tcp.connections+=out remote 127.0.0.0/8={how}")
    target.killed()
    try:
        got = s.recv(9)
    except ConnectionResetError:
        got = "reset"
    # Bytes that curl has not read yet: the kernel itself says it with a reset.
    if got != "reset" and (got or how == "reset"):
        raise Failure(f"the server of curl sees {got!r} with {how}")
    s.close()
    server.close()
    crcore.restore_detached(image)
    crtest.wait_for("the end of curl", crtest.LIMIT, lambda: target.read("status"))
    crtest.wait_gone(target.pid)
    status, words = CURL[how]
    if int(target.read("status")) != status or words not in target.read("said"):
        raise Failure(f"curl with {how}: {target.read('status')}{target.read('said')}")


def redis(crcore_path, how):
    """A client waits for something to come."""
    work, port = os.path.join(crtest.scratch(), "redis-" + how, "work"), free_port()
    server = Server(crcore_path, "redis-" + how, ["redis-server", "--port", str(port), "--save", "",
                                                  "--bind", "127.0.0.1"], port, work)
    def cli(*words):
        return subprocess.Popen(["redis-cli", "-p", str(port), *words], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    def ask(*words):
        return cli(*words).communicate(timeout=crtest.LIMIT)[0].strip()
    waiting = cli("BLPOP", "list", "0")
    crtest.wait_for("the client to wait", crtest.LIMIT,
                    lambda: "blocked_clients:1" in ask("INFO", "clients"))
    image = os.path.join(server.top, "image")
    crtest.wait_for("a dump", crtest.LIMIT, lambda: not server.crcore.run(
        "dump", "-t", server.pid, "-D", image, "--set", f"tcp.connections+=in local *:{port}={how}")[0])
    server.target.killed()
    server.mine = False
    said = waiting.communicate(timeout=crtest.LIMIT)[0]
    if REDIS_CLI[how] not in said:
        raise Failure(f"redis-cli with {how}: {said}")
    server.crcore.restore_detached(image)
    crtest.wait_for("the server to see it", crtest.LIMIT,
                    lambda: "blocked_clients:0" in ask("INFO", "clients"))
    if ask("RPUSH", "list", "x") != "1" or ask("LPOP", "list") != "x":
        raise Failure("what the server has is not what it should have")
    server.end()


def test(crcore_path):
    crtest.need("curl")
    crtest.need("redis-cli")
    for how in ("close", "reset"):
        curl(crcore_path, how)
        redis(crcore_path, how)
        print(f"{how}: curl says {CURL[how][1]!r}, redis-cli {REDIS_CLI[how]!r}", flush=True)


jobs.run(test)
