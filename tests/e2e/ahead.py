# SPDX-License-Identifier: Apache-2.0
"""Images made while the tree ran on are of one instant: programs that keep invariants
across distant pages, threads, processes and shared memory are dumped with -R several
times, killed, and brought back from such an image. The same with --precopy and a dump
that ends the tree, and with images made on each other. A dump killed while it copies
leaves nothing behind."""
import os
import re
import shutil
import signal
import sys
import time
import jobs
import crtest
from crtest import Failure


class Job:
    def __init__(self, crcore_path, program, name):
        self.top = os.path.join(crtest.scratch(), name)
        os.mkdir(self.top)
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        work = os.path.join(self.top, "work")
        self.t = crtest.Target([program, work], work)
        self.pid = self.t.pid
        crtest.wait_for("the target", crtest.LIMIT,
                        lambda: self.t.read("ready") or self.t.proc.poll() is not None)
        self.check()

    def check(self):
        if self.t.read("result"):
            raise Failure(f"disturbed: {self.t.read('result')}{self.t.read('stderr')}")

    def dump(self, *args):
        """What a child that was just forked shares is not copied ahead, which may be all:
        a tree that lives on is dumped until something is."""
        for _ in range(20):
            image = os.path.join(self.top, f"image-{self.crcore.count}")
            self.crcore.dump(self.pid, image, *args)
            with open(self.crcore.log) as f:
                log = f.read()
            if "-R" not in args or re.search(r"[1-9][0-9]* ahead", log):
                return image
            shutil.rmtree(image)
        raise Failure(f"nothing was copied ahead\n{log}")

    def kill(self):
        """Ends the tree as a power cut would: at once, with those whom it is just forking."""
        os.killpg(self.pid, signal.SIGKILL)
        self.t.proc.wait(timeout=crtest.LIMIT)
        crtest.wait_for("all of the tree to be gone", crtest.LIMIT, self.gone)

    def gone(self):
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def finish(self, image):
        pid = self.crcore.restore_detached(image)
        time.sleep(0.1)
        self.check()
        with open(self.t.path("go"), "w"):
            pass
        crtest.wait_gone(pid)
        if self.t.read("result").strip() != "pass":
            raise Failure(f"after the restore: {self.t.read('result')}{self.t.read('stderr')}")


def running(crcore, program):
    j = Job(crcore, program, f"running-{os.path.basename(program)}")
    for _ in range(4):
        image = j.dump("-R")
        j.check()
        time.sleep(0.05)
    before = {p: open(f"/proc/{p}/smaps").read().count(" uw") for p in [j.pid]}
    if before[j.pid]:
        raise Failure("its memory is still watched")
    j.kill()
    j.finish(image)


def moved(crcore, program):
    j = Job(crcore, program, f"moved-{os.path.basename(program)}")
    image = j.dump("--precopy")
    j.t.killed()
    j.finish(image)


def chained(crcore, program):
    """Each image made on the one before, while the tree writes all the time."""
    j = Job(crcore, program, f"chained-{os.path.basename(program)}")
    for n in range(5):
        prev = ["--prev-images-dir", f"../image-{n - 1}"] if n else []
        j.crcore.dump(j.pid, os.path.join(j.top, f"image-{n}"), "-R", "--track-mem", *prev,
                      *(["--precopy"] if n % 2 else ["--set", "dump.copy-ahead=no"]))
        with open(j.crcore.log) as f:
            log = f.read()
        if "all memory is saved" in log:
            raise Failure(f"it was not tracked\n{log}")
        j.check()
        time.sleep(0.02)
    j.kill()
    j.finish(os.path.join(j.top, "image-4"))


def descriptors(pid):
    return sorted(os.listdir(f"/proc/{pid}/fd"))


def killed(crcore, program):
    j = Job(crcore, program, "killed")
    before = descriptors(j.pid)
    for i in range(15):
        image = os.path.join(j.top, f"killed-{i}")
        p = j.crcore.start("dump", "-t", j.pid, "-D", image, "-R", env=crtest.NO_LEAK_SEARCH)
        children = []
        try:
            children = crtest.wait_for("the worker", crtest.LIMIT, lambda: crtest.children(p.pid) or
                                       p.poll() is not None and [0])
            time.sleep(0.004 * i)
            if children != [0]:
                os.kill(children[0], signal.SIGKILL)
        except ProcessLookupError:
            pass
        j.crcore.finish(p)
        shutil.rmtree(image, ignore_errors=True)
        crtest.wait_for("its descriptors", crtest.LIMIT, lambda: descriptors(j.pid) == before)
        j.check()
    with open(j.t.path("go"), "w"):
        pass
    if j.t.wait() or j.t.read("result").strip() != "pass":
        raise Failure(f"disturbed: {j.t.read('result')}{j.t.read('stderr')}")


def main(crcore, *programs):
    for program in programs:
        running(crcore, program)
        moved(crcore, program)
        chained(crcore, program)
    killed(crcore, programs[0])


jobs.run(main)
