# SPDX-License-Identifier: Apache-2.0
"""A restore is killed (kill -9 of crcore and its worker) when a task of the tree has been stopped, as
it was, and others are still being made: a stopped task cannot see that nobody is there any more, and
is ended with the others all the same, in a session of its own too."""
import os
import signal
import jobs
import crtest
from crtest import Failure

TREE = """
import os, signal, time
r, w = os.pipe()
stopped = os.fork()
if not stopped:
    os.setsid()
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)
os.waitpid(stopped, os.WUNTRACED)
for i in range(%d):
    if not os.fork():
        os.close(w)
        os.read(r, 1) # its parent's end
        os._exit(0)
with open("stopped.new", "w") as f: f.write(str(stopped))
os.rename("stopped.new", "stopped")
while not os.path.exists("go"):
    time.sleep(0.01)
os.kill(stopped, signal.SIGCONT)
os._exit(0)
"""
OTHERS = 60
WANTED = 3  # kills at the right moment
ROUNDS = 30


def state(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rpartition(b")")[2].split()[0]
    except OSError:
        return b""


def kill(pids, signo):
    """Returns whether all were there."""
    there = 0
    for pid in pids:
        try:
            os.kill(pid, signo)
            there += 1
        except ProcessLookupError:
            pass
    return there == len(pids)


def children(p):
    """Of crcore: first its worker, then the first task."""
    try:
        with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
            return [int(x) for x in f.read().split()]
    except OSError:
        return []


def test(crcore_path):
    crcore = crtest.Crcore(crcore_path, crtest.scratch())
    work, image = os.path.join(crtest.scratch(), "work"), os.path.join(crtest.scratch(), "image")
    before = set(crtest.pids())

    def left():
        return set(crtest.pids()) - before

    t = crtest.Target([jobs.python(), "-c", TREE % OTHERS], work, cwd=work)
    crtest.wait_for("the tree", crtest.LIMIT, lambda: t.read("stopped"))
    stopped = int(t.read("stopped"))
    crcore.dump(t.pid, image)
    t.killed()
    crtest.wait_for("the end of the tree", crtest.LIMIT, lambda: not left())
    hits = whole = 0
    while hits < WANTED and hits + whole < ROUNDS:
        p = crcore.start("restore", "-d", "-D", image, env=crtest.NO_LEAK_SEARCH)
        # The tasks are made by each other: whoever watches over them is held up meanwhile.
        while p.poll() is None and len(children(p)) < 2:
            pass
        worker = children(p)[:1]
        kill(worker, signal.SIGSTOP)
        crtest.wait_for("the task to stop", crtest.LIMIT,
                        lambda: p.poll() is not None or state(stopped) == b"T")
        hit = kill([p.pid, *worker], signal.SIGKILL) and bool(worker)
        crcore.finish(p)
        crtest.wait_for("crcore to be gone", 20, lambda: not crtest.running(crcore_path))
        if not hit:  # it was done before
            kill(left(), signal.SIGKILL)
        hits += hit
        whole += not hit
        crtest.wait_for("the end of all", 5, lambda: not left())
    if hits < WANTED:
        raise Failure(f"no more than {hits} of {hits + whole} restores were killed in time")
    crcore.restore(image, "-d")
    open(t.path("go"), "w").close()
    crtest.wait_for("the end of the tree", crtest.LIMIT, lambda: not left())
    print(f"{hits} restores killed when a task was stopped; {whole} were done", flush=True)


jobs.run(test)
