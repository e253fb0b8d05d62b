# SPDX-License-Identifier: Apache-2.0
"""A tree that changes its memory at random (tests/kinds/memory-chain.c) and the images that are
made of it, one on the other; each with what it must hold."""
import fcntl
import os
import re
import signal
import subprocess
import jobs  # noqa: F401 - knows where crtest is
import crtest
from crtest import Failure


class Chain:
    def __init__(self, crcore, program, pages_of, seed):
        self.top = os.path.join(crtest.scratch(), f"seed-{seed}")
        os.mkdir(self.top)
        os.chmod(self.top, 0o777)
        self.seed, self.pages_of = seed, pages_of
        self.crcore = crtest.Crcore(crcore, self.top)
        work = os.path.join(self.top, "work")
        env = {**os.environ, "CRCORE_SEED": str(seed),
               "GLIBC_TUNABLES": "glibc.pthread.rseq=0"}  # the kernel writes to that at any time
        self.t = crtest.Target([*([program] if isinstance(program, str) else program), work], work,
                               env=env)
        crtest.wait_for("the target", crtest.LIMIT, lambda: self.t.read("ready"))
        self.expected = {}  # what each image must hold
        self.told = []      # pages that each had to save

    def image(self, n):
        return os.path.join(self.top, f"image-{n}")

    def tree(self):
        return crtest.snapshot.tree(self.t.pid)

    def signal_all(self, signo):
        for pid in self.tree():
            try:
                os.kill(pid, signo)
            except ProcessLookupError:
                pass

    def stop(self):
        self.signal_all(signal.SIGSTOP)
        crtest.wait_for("all to be stopped", crtest.LIMIT, lambda: all(
            crtest.snapshot.stat_fields(f"/proc/{p}/stat").get("state") in ("T", "Z")
            for p in self.tree()))

    def contents(self, *what):
        p = subprocess.run([self.pages_of, *map(str, what)], stdout=subprocess.PIPE, text=True,
                           timeout=crtest.LIMIT, check=False)
        if p.returncode:
            raise Failure(f"seed {self.seed}: pages-of {' '.join(map(str, what))} failed")
        return sorted(p.stdout.splitlines())

    def live(self):
        alive = [p for p in self.tree() if crtest.start_time(p)]
        return self.contents("live", *alive)

    def same(self, n, got, what):
        want = self.expected[n]
        if got != want:
            lost, more = sorted(set(want) - set(got)), sorted(set(got) - set(want))
            raise Failure(f"seed {self.seed}: {what} {n} differs: {len(lost)} pages are not as they "
                          f"were, first {lost[:3]}; {len(more)} are otherwise, first {more[:3]}")

    def step(self, n):
        with open(self.t.path(f"step-{n}"), "w"):
            pass
        crtest.wait_for(f"step {n}", crtest.LIMIT, lambda: os.path.exists(self.t.path(f"done-{n}"))
                        or self.t.read("result"))
        if self.t.read("result"):
            raise Failure(f"seed {self.seed}: {self.t.read('result')}{self.t.read('stderr')}")

    def unlocked(self, n):
        """Whoever tracks from now on has nothing of the image: the next can be made at once."""
        fd = os.open(self.image(n), os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(f"image {n} is locked after its dump") from None
        finally:
            os.close(fd)

    def dump(self, n, *args, before=None, whole=None):
        """whole: why all memory is saved; else it must not be."""
        self.stop()
        self.expected[n] = self.live()
        prev = before if before is not None else f"../image-{n - 1}" if n else ""
        self.crcore.dump(self.t.pid, self.image(n), *args,
                         *(["--prev-images-dir", prev] if prev else []))
        self.unlocked(n)
        with open(self.crcore.log) as f:
            log = f.read()
        self.told.append(int(re.search(r"pages: ([0-9]+) stored", log).group(1)))
        said = re.search(r"Warning: all memory is saved(?:, and not tracked)?: (.*)", log)
        if (whole or "") not in (said.group(1) if said else "") or (said and not whole):
            raise Failure(f"seed {self.seed}, image {n}: expected: {whole}\n{log}")
        self.signal_all(signal.SIGCONT)

    def kill(self):
        tree = self.tree()
        for pid in tree:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for pid in tree[1:]:
            crtest.wait_gone(pid)

    def restored(self, n, image):
        """The tree comes back stopped, as it was saved."""
        self.crcore.restore_detached(image)
        self.stop()
        self.same(n, self.live(), f"what was restored from {os.path.basename(image)}, image")
