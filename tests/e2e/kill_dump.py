# SPDX-License-Identifier: Apache-2.0
"""kill -9 of crcore at random moments of a dump of a busy tree that verifies itself:
the tree runs on as if nothing had been, and what is left of the image is no image.
CRCORE_TEST_KILLS is how often (200); all programs but the last get a fifth of them."""
import glob
import os
import random
import shutil
import sys
import time
import jobs
import crtest
from crtest import Failure

KILLS = int(os.environ.get("CRCORE_TEST_KILLS", "50" if jobs.SHORT else "200"))


def tracer_free(pids):
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status") as f:
                text = f.read()
        except OSError:
            continue
        if "TracerPid:\t0" not in text or "State:\tt" in text:
            return False
    return True


class Kills:
    def __init__(self, crcore_path, program, kills):
        self.kills = kills
        self.top = os.path.join(crtest.scratch(), os.path.basename(program))
        os.mkdir(self.top)
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        work = os.path.join(self.top, "work")
        self.target = crtest.Target([program, work], work)
        # Files that only the image needs get names beside those of the target.
        self.flags = ["--link-remap"] if os.path.basename(program) == "files-links" else []
        self.rng = random.Random(os.environ.get("CRCORE_TEST_SEED", "1"))
        self.complete = self.incomplete = 0
        t = self.target.ready()
        if "skip" in t.read("result"):
            raise crtest.Skip(t.read("result").strip())
        # Told to the target: see the one call that the kernel itself ends early.
        open(t.path("killing"), "w").close()

    def alive(self, when):
        if self.target.proc.poll() is not None:
            raise Failure(f"the tree was disturbed {when}: status {self.target.proc.returncode}: {self.target.read('result')}"
                          f"{self.target.read('stderr')}")

    def length(self):
        """How long a whole dump takes."""
        took = []
        for i in range(3):
            start = time.monotonic()
            self.crcore.dump(self.target.pid, os.path.join(self.top, f"whole-{i}"), "-R",
                             *self.flags)
            took.append(time.monotonic() - start)
            shutil.rmtree(os.path.join(self.top, f"whole-{i}"))
            self.remove_links(True)
        return sorted(took)[1]

    def remove_links(self, complete):
        """Hidden names go with their image; without one there must be none."""
        links = glob.glob(self.target.path(".crcore-link-*"))
        if links and not complete:
            raise Failure(f"left by a dump that was killed: {links}")
        for link in links:
            os.unlink(link)

    def one(self, i, length):
        image = os.path.join(self.top, f"image-{i}")
        p = self.crcore.start("dump", "-t", self.target.pid, "-D", image, "-R", *self.flags,
                              env=crtest.NO_LEAK_SEARCH)
        time.sleep(self.rng.uniform(0, length * 1.1))
        crtest.kill_some(p, i)
        self.crcore.finish(p)
        self.alive(f"by killing dump {i}")
        # What the other process still has to take back takes a moment.
        pids = crtest.snapshot.tree(self.target.pid)
        crtest.wait_for(f"the tree to be free of tracers after kill {i}", 20,
                        lambda: tracer_free(pids))
        crtest.wait_for("crcore to be gone", 20, lambda: not crtest.running(self.crcore.path))
        if os.path.exists(os.path.join(image, "manifest")):
            self.complete += 1
            self.remove_links(True)
        else:
            self.incomplete += 1
            if os.path.isdir(image):
                rc, _, err = self.crcore.run("restore", "-D", image)
                if rc <= 0 or "Error" not in err:
                    raise Failure(f"half an image was not refused: status {rc}, {err}")
            self.remove_links(False)
        shutil.rmtree(image, ignore_errors=True)

    def run(self):
        length = self.length()
        for i in range(self.kills):
            self.one(i, length)
        # After all that, an ordinary dump and restore still work.
        t, image = self.target, os.path.join(self.top, "last")
        self.crcore.dump(t.pid, image, *self.flags)
        t.killed()
        self.crcore.restore_detached(image)
        open(t.path("go"), "w").close()
        crtest.wait_gone(t.pid)
        if t.read("result").strip() != "pass":
            raise Failure(f"{t.read('result')}\n{t.read('stderr')}")
        print(f"{os.path.basename(t.proc.args[0])}: a dump takes {length * 1000:.0f} ms; "
              f"{self.kills} kills, {self.complete} after the image was complete", flush=True)


def main(crcore, *programs):
    for program in programs:
        Kills(crcore, program, KILLS if program == programs[-1] else KILLS // 5).run()


jobs.run(main)
