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
            self.crcore.must("merge", "-D", merged, self.image(n))
            self.same(n, self.contents("image", merged), "merged, image")
            for image in self.image(n), merged:
                self.restored(n, image)
                if n < last or image != merged:
                    self.kill()
        self.sizes(last)
        with open(self.t.path("go"), "w"):
            pass
        self.signal_all(signal.SIGCONT)
        crtest.wait_gone(self.t.pid)
        if self.t.read("result").strip() != "pass":
            raise Failure(f"seed {self.seed}: {self.t.read('result')}{self.t.read('stderr')}")
        shutil.rmtree(self.top)


def main(crcore, program, pages_of, steps=STEPS, *seeds):
    for seed in seeds or SEEDS:
        Random(crcore, program, pages_of, int(seed)).run(int(steps))


jobs.run(main)
