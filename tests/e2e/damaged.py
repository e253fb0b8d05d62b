# SPDX-License-Identifier: Apache-2.0
"""Images that were damaged: each file flipped in many places, cut, made longer, taken
away, emptied, or from elsewhere. Each is refused with one line of error, before any
process exists; the whole image still works afterwards."""
import os
import random
import shutil
import sys
import jobs
import crtest
from crtest import Failure

FLIPS = 6 if jobs.SHORT else 24


class Test:
    def __init__(self, crcore_path, program):
        self.top = crtest.scratch()
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.rng = random.Random(7)
        self.tried = 0
        self.image = os.path.join(self.top, "image")
        work = os.path.join(self.top, "work")
        self.target = crtest.Target([program, work], work).ready()
        other = os.path.join(self.top, "other-work")
        stranger = crtest.Target([program, other], other).ready()
        self.foreign = os.path.join(self.top, "foreign")
        self.crcore.dump(stranger.pid, self.foreign)
        stranger.killed()
        self.crcore.dump(self.target.pid, self.image)
        self.target.killed()
        self.files = sorted(os.listdir(self.image))

    def refused(self, what, verb="restore", *args):
        before = set(crtest.pids())
        rc, _, err = self.crcore.run(verb, *args, "-D", self.copy, log=False)
        self.tried += 1
        if rc <= 0 or rc > 125:
            raise Failure(f"{what}: {verb} ended with status {rc}\n{err}")
        if sum(x.startswith("Error") for x in err.splitlines()) != 1:
            raise Failure(f"{what}: not one line of error but:\n{err}")
        crtest.wait_for(f"the end of all processes ({what})", 5,
                        lambda: not set(crtest.pids()) - before)

    def fresh(self):
        self.copy = os.path.join(self.top, "copy")
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.image, self.copy)

    def flip(self, name, at):
        path = os.path.join(self.copy, name)
        with open(path, "r+b") as f:
            f.seek(at)
            old = f.read(1)
            f.seek(at)
            f.write(bytes([old[0] ^ (1 << self.rng.randrange(8))]))
        self.refused(f"{name} with byte {at} changed", "restore", "-d")
        with open(path, "r+b") as f:
            f.seek(at)
            f.write(old)

    def damage(self, name):
        self.fresh()
        path = os.path.join(self.copy, name)
        size = os.path.getsize(path)
        # A piece of every region of the file, the first and the last byte among them.
        for k in range(min(FLIPS, size)):
            a, b = k * size // FLIPS, max((k + 1) * size // FLIPS, k * size // FLIPS + 1)
            self.flip(name, min(self.rng.randrange(a, b), size - 1))
        for end in {0, size // 2, size - 1} - {size}:
            os.truncate(path, end)
            self.refused(f"{name} cut to {end} bytes", "restore", "-d")
            shutil.copy(os.path.join(self.image, name), path)
        with open(path, "ab") as f:
            f.write(b"\0more")
        self.refused(f"{name} with bytes at its end", "restore", "-d")
        os.unlink(path)
        self.refused(f"without {name}", "restore", "-d")
        os.mkdir(path)
        self.refused(f"{name} is a folder", "restore", "-d")
        os.rmdir(path)
        os.symlink("/dev/zero", path)
        self.refused(f"{name} is a link to a device", "restore", "-d")
        os.unlink(path)
        foreign = os.path.join(self.foreign, name)
        if os.path.exists(foreign) and jobs.sha256(foreign) != \
                jobs.sha256(os.path.join(self.image, name)) and name != "manifest":
            shutil.copy(foreign, path)
            self.refused(f"{name} of another image", "restore", "-d")

    def run(self):
        for name in self.files:
            self.damage(name)
        self.copy = os.path.join(self.top, "nothing")
        self.refused("a folder that is not there")
        os.mkdir(self.copy)
        self.refused("an empty folder")
        self.refused("an empty folder", "show")
        self.crcore.restore_detached(self.image)
        open(self.target.path("go"), "w").close()
        crtest.wait_gone(self.target.pid)
        if self.target.read("result").strip() != "pass":
            raise Failure(f"{self.target.read('result')}\n{self.target.read('stderr')}")
        print(f"{self.tried} damaged images of {len(self.files)} files were refused")


jobs.run(lambda crcore, program: Test(crcore, program).run())
