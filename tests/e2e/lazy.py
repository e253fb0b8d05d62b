# SPDX-License-Identifier: Apache-2.0
"""restore --lazy: the image is damaged where memory is that nobody has loaded yet, the recorded order
is used, spoilt and made anew; the pager is killed while the tree is built; a dump of a tree that is
still loading is refused. Each time every byte is checked by the program itself, or the tree ends."""
import os
import shutil
import signal
import socket
import sys
import jobs  # finds crtest
import crtest
from crtest import Failure
from lazy_tree import LazyTree, named


class Redis:
    """A server with some 60 MiB that is asked, and forks to save itself, while it is loading."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "redis.sock")
        self.target = crtest.Target(
            ["redis-server", "--port", "0", "--unixsocket", self.path, "--save", "", "--dir", folder,
             "--enable-debug-command", "yes"], os.path.join(folder, "redis"), stdout="/dev/null")
        crtest.wait_for("redis", crtest.LIMIT, self.listens)

    def listens(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.path) == 0

    def ask(self, *lines):
        """The last line of what it answers to the last."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(crtest.LIMIT)
            s.connect(self.path)
            for line in lines:
                s.sendall(line.encode() + b"\r\n")
                answer = s.recv(1 << 16)
        return answer.decode().strip()

    def saved(self):
        info = self.ask("info persistence")
        return "rdb_bgsave_in_progress:0" in info and "rdb_last_bgsave_status:ok" in info


class Test(LazyTree):
    def dump_is_refused(self):
        self.what = "a dump while it was loading"
        t = self.dump()
        pid, pager = self.restore()
        if not pager:
            return False
        for verb in ("check", "dump"):
            to = ["-D", os.path.join(self.top, "second")] if verb == "dump" else []
            rc, out, err = self.crcore.run(verb, "-t", pid, *to, log=False)
            if rc == 0 or "lazy restore" not in out + err:
                raise Failure(f"{verb} of a tree that is loading: status {rc}\n{out}{err}")
        os.kill(pager, signal.SIGCONT)
        self.go(t)
        self.finish(t, pid)
        return True

    def order(self):
        self.what = "the recorded order"
        t = self.dump()
        path = os.path.join(self.image, "order-1.bin")
        for spoil in (None, None, b"", b"crorder1" + b"\xff" * 400, None):
            if spoil is not None:
                with open(path, "wb") as f:
                    f.write(spoil)
            pid = self.crcore.restore_detached(self.image, "--lazy")
            crtest.wait_for("all to be loaded", crtest.LIMIT, lambda p=pid: not crtest.loading(p))
            self.nobody_left()
            with open(path, "rb") as f:
                head = f.read(8)
            if head != b"crorder1":
                raise Failure(f"no order was recorded: {head}")
            os.kill(pid, signal.SIGKILL)
            crtest.wait_gone(pid)
        left = sorted(x for x in os.listdir(self.image) if not x.startswith("pages-"))
        if left != ["manifest", "order-1.bin"]:
            raise Failure(f"beside the image: {left}")
        self.go(t)
        self.crcore.restore(self.image, "--lazy")  # in the foreground: ends as the program does
        self.finish(t, t.pid)

    def killed_early(self):
        """While the tree is built the pager is not stood in for: all is taken back, or all is done."""
        self.what = "a kill while the tree was built"
        t = self.dump()
        before, failed = set(crtest.pids()), 0
        for _ in range(4):
            p = self.crcore.start("restore", "-d", "--lazy", "-D", self.image, log=False)
            for pager in crtest.wait_for("a pager", crtest.LIMIT, lambda: named("cr-pager")):
                os.kill(pager, signal.SIGKILL)
            rc, _, err = self.crcore.finish(p)
            if rc == 0:
                break
            failed += 1
            if "the pager was killed" not in err:
                raise Failure(f"after {self.what}: {err}")
            crtest.wait_for("the end of all processes", crtest.LIMIT,
                            lambda: not set(crtest.pids()) - before)
        else:
            self.crcore.restore_detached(self.image, "--lazy")
        self.go(t)
        self.finish(t, t.pid)
        print(f"{failed} pagers killed while the tree was built")

    def damaged(self, program):
        """A byte in the middle of what is loaded late: the tree ends, and says nothing wrong."""
        self.what = "a damaged block"
        t = self.dump(program)
        pages = max((os.path.join(self.image, x) for x in os.listdir(self.image)),
                    key=os.path.getsize)
        with open(pages, "r+b") as f:
            f.seek(os.path.getsize(pages) // 2)
            byte = f.read(1)
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte[0] ^ 1]))
        pid = self.crcore.restore_detached(self.image, "--lazy")
        self.go(t)
        crtest.wait_gone(pid)
        if t.read("result"):
            raise Failure(f"the program did not end by it: {t.read('result')}")
        self.nobody_left()
        errors = [x for x in self.crcore.tail(200).splitlines() if "Error" in x]
        if len(errors) != 1 or any(x not in errors[0] for x in (
                "checksum", f"process {pid} was ended", "restore another image")):
            raise Failure(f"not one line of error:\n{self.crcore.tail()}")

    def redis(self):
        self.what = "redis"
        if not shutil.which("redis-server"):
            return
        shutil.rmtree(self.image, ignore_errors=True)
        r = Redis(self.top)
        r.ask("debug populate 120000 key 300")
        before = r.ask("debug digest")
        self.crcore.dump(r.target.pid, self.image)
        r.target.killed()
        for _ in range(2):
            pid = self.crcore.restore_detached(self.image, "--lazy")
            r.ask("bgsave")
            if r.ask("debug digest") != before:
                raise Failure("redis does not hold what it held")
            crtest.wait_for("redis to save", crtest.LIMIT, r.saved)
            crtest.wait_for("all to be loaded", crtest.LIMIT, lambda p=pid: not crtest.loading(p))
            if r.ask("debug reload nosave", "debug digest") != before:
                raise Failure("redis did not save what it held")
            os.kill(pid, signal.SIGKILL)
            crtest.wait_for("the end of its last thread", crtest.LIMIT,
                            lambda p=pid: not os.path.exists(f"/proc/{p}"))
            self.nobody_left()

    def run(self):
        caught = self.dump_is_refused()
        self.order()
        self.killed_early()
        self.damaged(self.program)
        self.damaged(self.shared)
        self.redis()
        if not caught:
            raise Failure("everything was loaded before anybody could look")


crtest.main(lambda: Test(*sys.argv[1:]).run())
