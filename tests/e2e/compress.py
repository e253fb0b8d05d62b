# SPDX-License-Identifier: Apache-2.0
"""Packed images: programs that know their memory come back from them, left running, copied
ahead or killed, packed by either codec; packed is smaller; what was damaged is refused, by
its checksum or, where nobody looks at that, while the pages are unpacked, with nothing
left of the tree."""
import os
import shutil
import sys
import jobs
import crtest
from crtest import Failure

CODECS = ["--compress"], ["--compress=zstd"], ["--compress=zstd", "--set", "dump.compress-level=5"]


class Job:
    def __init__(self, crcore_path, name, argv):
        self.top = os.path.join(crtest.scratch(), name)
        os.mkdir(self.top)
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.t = crtest.Target(argv, os.path.join(self.top, "work"))
        crtest.wait_for("the target", crtest.LIMIT,
                        lambda: self.t.read("ready") or self.t.proc.poll() is not None)

    def dump(self, *args):
        image = os.path.join(self.top, f"image-{self.crcore.count}")
        self.crcore.dump(self.t.pid, image, *args)
        return image

    def finish(self, image, *args):
        pid = self.crcore.restore_detached(image, *args)
        with open(self.t.path("go"), "w"):
            pass
        crtest.wait_gone(pid)
        if self.t.read("result").strip() != "pass":
            raise Failure(f"{image}: {self.t.read('result')}{self.t.read('stderr')}")


def size(image):
    return sum(os.path.getsize(x) for x in crtest.page_files(image))


def program(crcore, path, codec, lazily):
    j = Job(crcore, os.path.basename(path), [path, os.path.join(crtest.scratch(),
                                                                os.path.basename(path), "work")])
    plain = size(j.dump("-R", "--compress=none"))
    shutil.rmtree(j.dump("-R", *codec))
    image = j.dump("--precopy", *codec)
    j.t.killed()
    print(f"{os.path.basename(path)} {codec}: {size(image) / plain:.2f}")
    plan = j.crcore.restore(image, "--plan")
    if "ask for pages" not in plan or "wait for pages" not in plan:
        raise Failure(f"the plan does not say how packed pages come\n{plan[-2000:]}")
    j.finish(image, *(["--lazy"] if lazily else []))


NUMBERS = """
import array, os, sys, time
a = array.array("q", (i * i % 1000003 for i in range(1 << 20))) * 4
open("ready", "w").write("ready")
while not os.path.exists("go"):
    time.sleep(0.02)
open("result", "w").write("pass" if all(a[i] == i % (1 << 20) * (i % (1 << 20)) % 1000003
                                        for i in range(0, len(a), 100)) else "differs")
"""


def small_and_damaged(crcore):
    j = Job(crcore, "numbers", [jobs.python(), "-c", f"import os; os.chdir('{crtest.scratch()}/"
                                f"numbers/work')\n" + NUMBERS])
    sizes = [size(j.dump("-R", f"--compress={x}")) for x in ("none", "lz4", "zstd")]
    print("numbers: {:.1f} MiB, lz4 {:.1f}, zstd {:.1f}".format(*(x / 2 ** 20 for x in sizes)))
    if not sizes[0] * 0.8 > sizes[1] > sizes[2]:
        raise Failure(f"packed is not smaller: {sizes}")
    image = j.dump("--compress=zstd")
    j.t.killed()
    damaged = image + "-damaged"
    shutil.copytree(image, damaged)
    with open(crtest.page_files(damaged)[0], "r+b") as f:
        f.seek(sizes[2] // 2)
        f.write(os.urandom(100 << 10))
    before = crtest.pids()
    for how, why in (["yes", "checksum"], ["no", "does not unpack"]):
        rc, _, err = j.crcore.run("restore", "-d", "-D", damaged, "--set", f"restore.verify={how}")
        if rc <= 0 or why not in err or len(err.splitlines()) != 1:
            raise Failure(f"damaged, restore.verify={how}: status {rc}: {err}")
        crtest.wait_for("the end of what was begun", crtest.LIMIT,
                        lambda: not set(crtest.pids()) - set(before))
    j.finish(image)


def main(crcore, *programs):
    small_and_damaged(crcore)
    for i, path in enumerate(programs):
        program(crcore, path, CODECS[i % len(CODECS)], i % 2 == 0)


jobs.run(main)
