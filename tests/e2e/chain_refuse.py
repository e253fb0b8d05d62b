# SPDX-License-Identifier: Apache-2.0
"""A page whose watch ended unnoticed. When a dump may not go on from an image, and that it then saves all; parents that are
missing or not what an image was made on; and the process that tracks: when it ends."""
import json
import os
import shutil
import signal
import time
import chains
import jobs
import crtest
from crtest import Failure

TRACK = ("-R", "--track-mem")
GONE = "the process that tracked its writes is gone"


class Job(chains.Chain):
    """Steps and dumps, each image checked at once; ends with a tree that is killed."""

    def go(self, n, *args, **kw):
        if n:
            self.step(n)
        self.dump(n, *args, **kw)
        self.same(n, self.contents("image", self.image(n)), "image")

    def tracker(self, n):
        m = json.loads(self.crcore.must("show", "-D", self.image(n), "--json"))["manifest"]
        return m["tracking"]["pid"] if m["tracking"] else None

    def refused(self, text, verb, *args):
        rc, _, err = self.crcore.run(verb, *args)
        if rc != 1 or text not in err or not err.startswith("Error: "):
            raise Failure(f"{verb} {args}: status {rc}, expected: {text}\n{err}")

    def end(self):
        self.kill()
        self.t.proc.wait(timeout=crtest.LIMIT)
        shutil.rmtree(self.top)


def comm(pid):
    return crtest.snapshot.read(f"/proc/{pid}/comm").decode().strip()


def successors(job):
    """One image, one successor; a dump that has nothing to do with the chain disturbs nothing."""
    job.go(0, *TRACK)
    tracker = job.tracker(0)
    kinds = sorted(os.readlink(f"/proc/{tracker}/fd/{x}").split(":")[-1].split(" ")[0]
                   for x in os.listdir(f"/proc/{tracker}/fd"))
    if comm(tracker) != "cr-tracker" or set(kinds) - {"[pidfd]", "[userfaultfd]", "cr-tracker"} or "[userfaultfd]" not in kinds:
        raise Failure(f"process {tracker} is {comm(tracker)} and holds {kinds}")
    job.crcore.must("check", "-t", job.t.pid)
    job.go(1, "-R", "--precopy", before="") # of its own, made on none
    with open(job.crcore.log) as f:
        if "its writes are tracked for the image before" not in f.read():
            raise Failure("nobody says why it stood still")
    job.go(2, *TRACK, before="../image-0")
    crtest.wait_gone(tracker)
    job.go(3, *TRACK, before="../image-0", whole=GONE)
    job.go(4, *TRACK, before="../image-2")
    job.go(5, *TRACK, before="../image-3")
    job.go(6, "-R", before="../image-1", whole="without --track-mem")
    for n in job.expected:
        job.same(n, job.contents("image", job.image(n)), "at the end, image")
    tracker = job.tracker(5)
    job.end()
    crtest.wait_gone(tracker)


def ended(job):
    """A tracker that is ended, one that is stopped, a tree that was restored."""
    job.go(0, *TRACK)
    os.kill(job.tracker(0), signal.SIGTERM)
    crtest.wait_gone(job.tracker(0))
    job.go(1, *TRACK, whole=GONE)
    os.kill(job.tracker(1), signal.SIGSTOP)
    job.go(2, *TRACK)
    crtest.wait_gone(job.tracker(1))
    job.go(3, "--track-mem")              # it ends here, so nobody tracks
    job.t.killed()
    if job.tracker(3):
        raise Failure("a tree that was killed is tracked")
    for n in 2, 3:
        job.crcore.restore_detached(job.image(n))
        job.signal_all(signal.SIGCONT)
        job.go(4 + n - 2, "-R", before=f"../image-{n}", whole="gone" if n == 2 else "without")
        job.kill()
        crtest.wait_gone(job.t.pid)
    shutil.rmtree(job.top)


def killed(job):
    """A dump that is killed at any moment: what comes after it must not trust what it left."""
    job.go(0, *TRACK)
    last = 0
    for n in range(1, 13):
        job.step(n)
        p = job.crcore.start("dump", "-t", job.t.pid, "-D", os.path.join(job.top, "killed"), *TRACK,
                             "--precopy", "--prev-images-dir", f"../image-{last}",
                             env=crtest.NO_LEAK_SEARCH)
        try:
            for pid in crtest.wait_for("the worker", crtest.LIMIT, lambda: crtest.children(p.pid)):
                time.sleep(0.0015 * n)
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        done = job.crcore.finish(p)[0] == 0
        shutil.rmtree(os.path.join(job.top, "killed"), ignore_errors=True)
        job.stop()
        job.expected[n] = job.live()
        job.crcore.dump(job.t.pid, job.image(n), *TRACK, "--prev-images-dir", f"../image-{last}")
        job.same(n, job.contents("image", job.image(n)), f"killed or not ({done}), image")
        job.signal_all(signal.SIGCONT)
        last = n
    job.end()


def parents(job, other):
    """What is refused, each before anything exists; the tree goes on."""
    other.go(0, *TRACK)
    job.go(0, *TRACK)
    job.refused("there is no image in this folder", "dump", "-t", job.t.pid, "-D",
                os.path.join(job.top, "none"), "--prev-images-dir", "..", "-R")
    job.refused("No such file", "dump", "-t", job.t.pid, "-D", os.path.join(job.top, "none"),
                "--prev-images-dir", "nowhere", "-R")
    job.refused(f"it is of the tree of pid {other.t.pid}", "dump", "-t", job.t.pid, "-D",
                os.path.join(job.top, "none"), "--prev-images-dir", other.image(0), "-R")
    if os.path.exists(os.path.join(job.top, "none")):
        raise Failure("a dump that was refused left a folder")
    job.go(1, *TRACK)
    job.go(2)
    job.t.killed()
    job.refused("one image is merged", "merge", "-D", os.path.join(job.top, "none"), job.image(1),
                job.image(2))
    away = os.path.join(job.top, "away")
    uses = (("restore", "-d", "-D", job.image(2)), ("show", "-D", job.image(2)),
            ("merge", "-D", os.path.join(job.top, "none"), job.image(2)))

    def all_refused(text):
        for use in uses:
            job.refused(text, *use)

    os.rename(job.image(0), away)
    all_refused("its parent is missing")
    shutil.copytree(other.image(0), job.image(0))
    all_refused("the folder of its parent holds another image")
    shutil.rmtree(job.image(0))
    os.symlink(job.image(2), job.image(0))
    all_refused("it is its own ancestor")
    os.unlink(job.image(0))
    os.rename(away, job.image(0))
    with open(os.path.join(job.image(0), "pages-1.bin"), "r+b") as f:
        f.seek(100)
        f.write(b"changed")
    for use in uses[0], uses[2]:
        job.refused("damaged", *use)
    if crtest.start_time(job.t.pid):
        raise Failure("a restore that was refused left a process")
    other.end()
    shutil.rmtree(job.top)


def merged(job):
    """The watch of a mapping ends, the next dump begins it anew: no write is missed."""
    for n in range(5):
        job.go(n, *TRACK)
    job.end()


def main(crcore, program, pages_of):
    def job(seed):
        return Job(crcore, program, pages_of, seed)

    moved = os.path.join(os.path.dirname(__file__), "moved_job.py")
    merged(Job(crcore, [jobs.python(), "-B", moved], pages_of, 9))
    successors(job(1))
    ended(job(2))
    killed(job(4))
    parents(job(6), job(8))


jobs.run(main)
