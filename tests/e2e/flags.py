# SPDX-License-Identifier: Apache-2.0
"""Locks and advice of mappings come back the same, whether they are read from the kernel's own
words or, where crcore may not load programs into the kernel, from smaps. Words are read in the
frozen tree: advice that is given all the time is that of the instant of the image. Of a small
process smaps is read, once by a dump and by a check."""
import os
import shutil
import jobs
import crtest
from crtest import Failure

WORDS, SMAPS = "read from the kernel's own words", "read from smaps: "
MIB = "64"  # so much that it is worth it


def target(program, name, *args):
    work = os.path.join(crtest.scratch(), name, "work")
    os.makedirs(work)
    os.chmod(os.path.dirname(work), 0o777)
    t = crtest.Target([program, work, *args], work)
    crtest.wait_for("the target", crtest.LIMIT, lambda: t.read("ready") or t.proc.poll() is not None)
    if not t.read("ready"):
        raise Failure(f"it ended: {t.read('result')}{t.read('stderr')}")
    return t


def dump(crcore, t, *args):
    """The image, and whether words were read."""
    image = os.path.join(os.path.dirname(t.folder), "image")
    crcore.dump(t.pid, image, *args)
    with open(crcore.log) as f:
        log = f.read()
    if WORDS not in log and SMAPS not in log:
        raise Failure(f"nobody says how flags were read\n{log}")
    if "were not learned" in log:
        raise Failure(f"not all flags of the program were learned\n{log}")
    return image, WORDS in log


def finish(t, pid):
    with open(t.path("go"), "w"):
        pass
    crtest.wait_gone(pid)
    if t.read("result").strip() != "pass":
        raise Failure(f"after the restore: {t.read('result')}{t.read('stderr')}")


def same(crcore, dumps, program, name):
    t = target(program, name, MIB)
    before = crtest.snapshot.settled(t.pid)
    image, words = dump(dumps, t)
    t.killed()
    pid = crcore.restore_detached(image)
    lines = crtest.snapshot.diff(before, crtest.snapshot.take(pid))
    if lines:
        raise Failure(f"{name}: /proc differs:\n  " + "\n  ".join(lines[:40]))
    finish(t, pid)
    return words


def of_one_instant(crcore, program):
    t = target(program, "instant")
    image, _ = dump(crcore, t, "-R")
    t.proc.kill()
    t.proc.wait()
    finish(t, crcore.restore_detached(image))


def smaps_is_read_once(path, program):
    if not shutil.which("strace"):
        print("smaps_is_read_once: no strace here")
        return
    t = target(program, "small", "1")
    image, calls = (os.path.join(os.path.dirname(t.folder), x) for x in ("image", "calls"))
    crcore = crtest.Crcore(path, crtest.scratch(), ["strace", "-f", "-e", "openat", "-o", calls])
    for verb, *args in (["check"], ["dump", "-D", image]):
        crcore.must(verb, "-t", t.pid, *args, env=crtest.NO_LEAK_SEARCH, log=False)
        with open(calls) as f:
            n = f.read().count('"smaps"')
        if n != 1:
            raise Failure(f"smaps was read {n} times by {verb}")
    t.killed()
    finish(t, crtest.Crcore(path, crtest.scratch()).restore_detached(image))


def main(path, flags, advice):
    smaps_is_read_once(path, flags)
    crcore = crtest.Crcore(path, crtest.scratch())
    refused = crtest.Crcore(path, crtest.scratch(), crtest.WITHOUT_PROGRAMS)
    refused.count = 100
    if same(crcore, refused, flags, "smaps"):
        raise Failure("it loaded a program all the same")
    if not same(crcore, crcore, flags, "words"):
        raise crtest.Skip("this kernel takes no program; smaps is as good")
    of_one_instant(crcore, advice)


jobs.run(main)
