# SPDX-License-Identifier: Apache-2.0
"""Jobs whose output can be compared: run undisturbed once, then once more with
checkpoints in the middle; both must give the same bytes."""
import hashlib
import os
import random
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import crtest
from crtest import Failure

SHORT = bool(os.environ.get("CRCORE_TEST_SHORT"))


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def python():
    """A Python whose executable is the interpreter itself, not a script around it."""
    return "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


class Job:
    """argv runs in a fresh folder `work`; prepare(folder) fills it before each run;
    results(folder) gives {name: checksum}."""

    def __init__(self, crcore_path, argv, results, prepare=None, limit=300):
        self.top = crtest.scratch()
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.argv, self.results, self.prepare, self.limit = argv, results, prepare, limit
        self.work = os.path.join(self.top, "work")
        self.images = 0

    def fresh(self):
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work)
        if self.prepare:
            self.prepare(self.work)
        return crtest.Target(self.argv, self.work, cwd=self.work)

    def undisturbed(self):
        start = time.monotonic()
        target = self.fresh()
        status = target.wait(self.limit)
        if status:
            raise Failure(f"the undisturbed job ended with {status}\n{target.read('stderr')}")
        self.took = time.monotonic() - start
        self.reference = self.results(self.work)
        if not self.reference:
            raise Failure("the job has no result")
        print(f"undisturbed: {self.took:.1f} s, {len(self.reference)} results", flush=True)

    def image(self):
        self.images += 1
        return os.path.join(self.top, f"image-{self.images}")

    def alive(self, pid):
        return crtest.start_time(pid) != 0

    def dump(self, pid, image, *args):
        """False if the job had ended by itself before the dump could begin."""
        try:
            self.crcore.dump(pid, image, *args)
        except Failure:
            if self.alive(pid):
                raise
            return False
        return True

    def disturbed(self, times, seed=1):
        """Dumps and restores `times` times at random moments spread over the job."""
        rng = random.Random(seed)
        target = self.fresh()
        pid, done, mine = target.pid, 0, True
        for i in range(times):
            time.sleep(self.took / (times + 1) * rng.uniform(0.5, 1.2))
            if not self.alive(pid):
                break
            image = self.image()
            start = time.monotonic()
            if not self.dump(pid, image):
                break
            middle = time.monotonic()
            if mine:
                target.killed()
                mine = False
            else:
                crtest.wait_gone(pid)
            self.crcore.restore_detached(image)
            print(f"checkpoint {i + 1}: dump {(middle - start) * 1000:.0f} ms, restore "
                  f"{(time.monotonic() - middle) * 1000:.0f} ms", flush=True)
            shutil.rmtree(image)
            done += 1
        if not done:
            raise Failure("the job ended before it could be checkpointed")
        crtest.wait_gone(pid, self.took * 4 + 60)
        self.compare(target)

    def left_running(self, times):
        target = self.fresh()
        for _ in range(times):
            time.sleep(self.took / (times + 1))
            if target.proc.poll() is not None:
                break
            image = self.image()
            if not self.dump(target.pid, image, "-R"):
                break
            shutil.rmtree(image)
        status = target.wait(self.limit)
        if status:
            raise Failure(f"the job ended with {status} after dumps that left it running\n"
                          f"{target.read('stderr')}")
        self.compare(target)

    def compare(self, target):
        now = self.results(self.work)
        differ = sorted(x for x in {*now, *self.reference} if now.get(x) != self.reference.get(x))
        if differ:
            raise Failure(f"{len(differ)} of {len(self.reference)} results differ: "
                          f"{' '.join(differ[:10])}\n{target.read('stderr')[-3000:]}")
        print(f"identical: {len(now)} results", flush=True)


def run(fn):
    """fn(path of crcore, the other arguments)"""
    crtest.main(lambda: fn(sys.argv[1], *sys.argv[2:]))
