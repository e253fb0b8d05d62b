# SPDX-License-Identifier: Apache-2.0
"""A tree in a network namespace that a holder keeps alive is saved from outside and restored into
it: its sockets of all sorts, a connection to a client in that namespace which goes on, and the
network lock, which is there and nowhere else. A socket of yet another one is refused."""
import ctypes
import os
import socket
import subprocess
import threading

import jobs
import crtest
import nft
from crtest import Failure

SERVER = """
import os, selectors, socket
s = socket.create_server(("127.0.0.1", 0), backlog=5)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", s.getsockname()[1]))
a = socket.socket(socket.AF_UNIX)
a.bind("\\0crcore-netns-test")
a.listen(5)
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
n.bind((4711, 0))
with open("port.new", "w") as f: f.write(str(s.getsockname()[1]))
os.rename("port.new", "port")
sel = selectors.DefaultSelector()
for x in (s, u, a):
    sel.register(x, selectors.EVENT_READ)
while True:
    for key, _ in sel.select():
        x = key.fileobj
        if x is u:
            data, peer = x.recvfrom(100)
            x.sendto(data, peer)
        elif x in (s, a):
            sel.register(x.accept()[0], selectors.EVENT_READ)
        else:
            data = x.recv(65536)
            if data:
                x.sendall(data)
            else:
                sel.unregister(x)
                x.close()
"""
OTHER = """
import ctypes, os, socket, time
s = socket.create_server(("127.0.0.1", 0))
if ctypes.CDLL(None).unshare(0x40000000):
    raise SystemExit("no namespace to be had")
open("port", "w").close()
time.sleep(600)
"""
CLONE_NEWNET = 0x40000000


def within(pid, fn):
    """fn() as a process of pid's network namespace would do it."""
    result = []

    def work():
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
            result.append(OSError(ctypes.get_errno(), "setns"))
        else:
            try:
                result.append(fn())
            except (OSError, Failure, crtest.Skip) as e:
                result.append(e)
        os.close(fd)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def start(code, name, *prefix):
    folder = os.path.join(crtest.scratch(), name)
    os.mkdir(folder)
    t = crtest.Target([*prefix, jobs.python(), "-c", code], folder, cwd=folder)
    crtest.wait_for(name, crtest.LIMIT, lambda: os.path.exists(t.path("port"))
                    or t.proc.poll() is not None)
    if t.proc.poll() is not None:
        raise Failure(f"{name} ended: {t.read('stderr')}")
    return t


def talk(s, data):
    s.sendall(data)
    got = b""
    while len(got) < len(data):
        part = s.recv(len(data) - len(got))
        if not part:
            raise Failure(f"the connection ended after {got!r}")
        got += part
    if got != data:
        raise Failure(f"{got!r} came back for {data!r}")


def datagram(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(crtest.LIMIT)
    s.connect(("127.0.0.1", port))
    talk(s, b"datagram")
    s.close()


def abstract():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("\0crcore-netns-test")
        talk(s, b"by name")


def joined(crcore, holder):
    inside, here = within(holder.pid, nft.Nft), nft.Nft()
    t = start(SERVER, "server", "nsenter", "-t", str(holder.pid), "-n", "--")
    ns = os.readlink(f"/proc/{t.pid}/ns/net")
    if ns == os.readlink("/proc/self/ns/net"):
        raise crtest.Skip("no network namespace to be had")
    port, image = int(t.read("port")), os.path.join(crtest.scratch(), "image")
    client = within(holder.pid, lambda: socket.create_connection(("127.0.0.1", port), crtest.LIMIT))
    talk(client, b"before")
    for i in range(2):
        crcore.dump(t.pid, f"{image}-{i}", "--tcp-established")
        t.killed() if i == 0 else crtest.wait_gone(t.pid)
        if inside.ruleset().count("table inet crcore-") != 1 or "crcore-" in here.ruleset():
            raise Failure(f"the lock:\n{inside.ruleset()}\nhere:\n{here.ruleset()}")
        client.sendall(b"meanwhile")
        rc, _, err = crcore.run("restore", "-D", f"{image}-{i}", "-d")
        if not rc or "--join-ns" not in err:
            raise Failure(f"restored without the namespace: {rc} {err}")
        crcore.restore_detached(f"{image}-{i}", "--join-ns", f"/proc/{holder.pid}/ns/net")
        if os.readlink(f"/proc/{t.pid}/ns/net") != ns:
            raise Failure("it is in another network namespace now")
        if client.recv(9, socket.MSG_WAITALL) != b"meanwhile" or "crcore-" in inside.ruleset():
            raise Failure(f"after the restore:\n{inside.ruleset()}")
        talk(client, b"after" * 1000)
        within(holder.pid, lambda: talk(socket.create_connection(("127.0.0.1", port)), b"new"))
        within(holder.pid, lambda: datagram(port))
        within(holder.pid, abstract)
    client.close()
    os.kill(t.pid, 9)
    crtest.wait_gone(t.pid)
    print("a tree in a network namespace: saved and restored twice", flush=True)


def refused(crcore):
    t = start(OTHER, "other")
    rc, out, _ = crcore.run("check", "-t", str(t.pid))
    if not rc or "in another network namespace than its task" not in out:
        raise Failure(f"a socket of another namespace: {rc} {out}")
    t.proc.kill()
    t.proc.wait()
    print("a socket of another network namespace: refused", flush=True)


def test(crcore_path):
    crtest.need("ip")
    crtest.need("nsenter")
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    up = os.path.join(crtest.scratch(), "up")
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c",
                               f"ip link set lo up && : > {up} && exec sleep 600"],
                              stdin=subprocess.DEVNULL, start_new_session=True)
    crtest.wait_for("the holder", crtest.LIMIT,
                    lambda: os.path.exists(up) or holder.poll() is not None)
    if holder.poll() is not None:
        raise crtest.Skip("no network namespace to be had")
    joined(crcore, holder)
    refused(crcore)
    holder.kill()
    holder.wait()


jobs.run(test)
