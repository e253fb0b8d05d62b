# SPDX-License-Identifier: Apache-2.0
"""Images made on images (--track-mem, --prev-images-dir): a tree that changes its memory at
random is dumped after each of many steps, in a chain. Each time it is stopped and every page
of every process is looked at, which is what the image must hold, then and at the end of the
chain, restored or merged.

    chain.py CRCORE memory-chain PAGES-OF [STEPS SEED...]
"""
import os
import shutil
import signal
import chains
import jobs
import crtest
from crtest import Failure

STEPS, SEEDS = 20, [1, 2]


class Random(chains.Chain):
    def sizes(self, last):
        """Nothing is in the merged image that nobody refers to."""
        want = int(self.contents("used", self.image(last))[0])
        got = os.stat(os.path.join(self.top, f"merged-{last}", "pages-1.bin")).st_size
        if want != got:
            raise Failure(f"the merged image has {got} bytes of pages, there are {want}")

    def dump_all(self, steps):
        for n in range(steps):
            before = None
            if n:
                self.step(n)
            if n and n == steps // 2 + 1:  # a merged image will do as well
                self.crcore.must("merge", "-D", os.path.join(self.top, "merged"), self.image(n - 1))
                before = "../merged"
            self.dump(n, *(["-R", "--track-mem"] if n < steps - 1 else []),
                      *(["--precopy"] if n % 3 == 1 else []),
                      *(["--compress"] if n % 4 > 1 else []), before=before)
            self.same(n, self.contents("image", self.image(n)), "image")
        self.t.killed()
        for n in range(steps):
            self.same(n, self.contents("image", self.image(n)), "at the end, image")

    def run(self, steps):
        last = steps - 1
        self.dump_all(steps)
        print(f"seed {self.seed}: {len(self.expected[last])} pages in the end; saved each time: "
              f"{self.told}")
        for n in sorted({last // 2, last}):
            merged = os.path.join(self.top, f"merged-{n}")
            self.crcore.must("merge", "-D", merged, *([] if n == last else ["--compress"]),
                             self.image(n))
            self.same(n, self.contents("image", merged), "merged, image")
            for image in self.image(n), merged:
                self.restored(n, image)
                if n < last or image != merged:
                    self.kill()
                    crtest.wait_gone(self.t.pid)
        self.sizes(last)
        with open(self.t.path("go"), "w"):
            pass
        self.signal_all(signal.SIGCONT)
        crtest.wait_gone(self.t.pid)
        if self.t.read("result").strip() != "pass":
            raise Failure(f"seed {self.seed}: {self.t.read('result')}{self.t.read('stderr')}")
        shutil.rmtree(self.top)


FORKS = """
import os, time
a = bytearray(os.urandom(1 << 20) * 24)
open("ready", "w").close()
while not os.path.exists("fork"):
    time.sleep(0.01)
for i in range(3):
    if os.fork() == 0:
        while True:
            time.sleep(1)
open("forked", "w").close()
while True:
    time.sleep(1)
"""


def end(t):
    tree = crtest.snapshot.tree(t.pid)
    for pid in tree:
        os.kill(pid, signal.SIGKILL)
    if t.proc.returncode is None:
        t.proc.wait(timeout=crtest.LIMIT)
    for pid in tree:
        crtest.wait_gone(pid)


def forks(crcore_path):
    """What children share with a tracked parent is stored once, in the image after the forks and
    in the next, and comes back shared."""
    top = os.path.join(crtest.scratch(), "forks")
    crcore = crtest.Crcore(crcore_path, top)
    t = crtest.Target([jobs.python(), "-c", FORKS], top, cwd=top)
    crtest.wait_for("the program", crtest.LIMIT, lambda: os.path.exists(t.path("ready")))
    for n in range(4):
        if n == 2:
            with open(t.path("fork"), "w"):
                pass
            crtest.wait_for("its children", crtest.LIMIT, lambda: os.path.exists(t.path("forked")))
        image = os.path.join(top, f"image-{n}")
        crcore.dump(t.pid, image, "-R", "--track-mem",
                    *(["--prev-images-dir", f"../image-{n - 1}"] if n else []))
        size = sum(e.stat().st_size for e in os.scandir(image)) >> 20
        if size > (30 if n == 0 else 6):
            raise Failure(f"image {n} has {size} MiB")
    end(t)
    crcore.restore_detached(image)
    total = 0
    for pid in crtest.snapshot.tree(t.pid):
        rollup = crtest.snapshot.read(f"/proc/{pid}/smaps_rollup").decode()
        total += int(rollup.split("Pss:")[1].split()[0]) >> 10
    if total > 48:
        raise Failure(f"it takes {total} MiB after the restore")
    end(t)
    shutil.rmtree(top)


def main(crcore, program, pages_of, steps=STEPS, *seeds):
    forks(crcore)
    for seed in seeds or SEEDS:
        Random(crcore, program, pages_of, int(seed)).run(int(steps))


jobs.run(main)
