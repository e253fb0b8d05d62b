#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Times dump and restore of trees of one sort each, as whole commands, in one run.

    bench/bench.py [--crcore PATH] [--runs N] [--dir DIR] [--peer NAME=PATH] [CASE ...]

Prints the median of each figure. "limit" is the plainest way to write and to read the
same bytes at the same place: cp of the image there and to /dev/null. With --peer another
tool with the classic command line takes its turn after each run of crcore, and the ratio
of the medians (peer / crcore) follows. Run as root on a machine that does nothing else."""
import argparse
import ctypes
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

CASES = {
    "tiny": ["tiny"],
    "200 processes": ["processes", "200"],
    "500 threads": ["threads", "500"],
    "5,000 mappings": ["mappings", "5000"],
    "100 MiB, 10 forks": ["forks", "100", "10"],
    "1,000 files, 1,000 pipes": ["files", "1000"],
    "2 GiB": ["memory", "2048"],
}
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PR_SET_CHILD_SUBREAPER = 36
LIMIT = 300  # seconds for any one command


def milliseconds(argv, **kw):
    began = time.perf_counter()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, timeout=LIMIT, **kw)
    took = (time.perf_counter() - began) * 1000
    if done.returncode:
        raise RuntimeError("%s: %s" % (" ".join(argv), done.stderr.decode(errors="replace").strip()))
    return took


def reap(pids=()):
    """Waits for these, and takes whatever else has come down to us."""
    for pid in pids:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def tree(pid):
    """The process and all below it, those further down first."""
    found = []
    try:
        for tid in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, tid)) as f:
                for child in f.read().split():
                    found += tree(int(child))
    except OSError:
        pass
    return found + [pid]


def resident(pids):
    """MiB that the tree really takes: proportional set size."""
    total = 0
    for pid in pids:
        try:
            with open("/proc/%d/smaps_rollup" % pid) as f:
                total += int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M)[1])
        except OSError:
            pass
    return total / 1024


class Run:
    """One tree, taken away and brought back by one tool."""

    def __init__(self, scratch, load, case):
        self.work = tempfile.mkdtemp(dir=scratch)
        self.image = os.path.join(self.work, "image")
        os.mkdir(self.image, 0o700)
        ready = os.path.join(self.work, "ready")
        self.child = subprocess.Popen([load] + CASES[case] + [ready], cwd=self.work,
                                      start_new_session=True, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.time() + 60
        while not os.path.exists(ready):
            if time.time() > deadline or self.child.poll() is not None:
                raise RuntimeError("the load %s did not start" % case)
            time.sleep(0.01)

    def measure(self, tool, ours):
        figures = {}
        pid = self.child.pid
        before = resident(tree(pid))
        log = os.path.join(self.work, "log")
        verbose = ["-v3", "-o", log] if ours else []
        figures["dump"] = milliseconds([tool, "dump", "-t", str(pid), "-D", self.image] + verbose)
        self.child.wait()
        reap()
        if ours:
            with open(log) as f:
                figures["frozen"] = float(re.search(r"stood still for ([0-9.]+) ms", f.read())[1])
        sizes = [os.path.getsize(os.path.join(self.image, f)) for f in os.listdir(self.image)]
        figures["image MiB"] = sum(sizes) / 2**20
        figures["restore"] = milliseconds([tool, "restore", "-d", "-D", self.image])
        pids = tree(pid)
        figures["resident"] = resident(pids) / before if before else 0
        for p in pids:
            os.kill(p, signal.SIGKILL)
        reap(pids)
        return figures

    def limits(self):
        copy = os.path.join(self.work, "copy")
        write = milliseconds(["cp", "-r", self.image, copy])
        read = milliseconds(["sh", "-c", "cat \"$1\"/* >/dev/null", "sh", self.image])
        return {"dump": write, "restore": read}

    def clean(self):
        if self.child.poll() is None:
            for p in tree(self.child.pid):
                os.kill(p, signal.SIGKILL)
            self.child.wait()
        reap()
        shutil.rmtree(self.work, ignore_errors=True)


def medians(rows):
    return {k: statistics.median(r[k] for r in rows) for k in rows[0]}


def row(name, who, f):
    frozen = "%9.1f" % f["frozen"] if "frozen" in f else " " * 9
    rest = "%9.1f %8.2f" % (f["image MiB"], f["resident"]) if "resident" in f else ""
    print("%-26s %-8s %9.1f %s %9.1f %s" % (name, who, f["dump"], frozen, f["restore"], rest),
          flush=True)


def bench(case, args, load, scratch):
    ours, limits, peers = [], [], []
    for _ in range(args.runs):
        for tool in [args.crcore] + ([args.peer[1]] if args.peer else []):
            run = Run(scratch, load, case)
            try:
                figures = run.measure(tool, tool == args.crcore)
                (ours if tool == args.crcore else peers).append(figures)
                if tool == args.crcore:
                    limits.append(run.limits())
            finally:
                run.clean()
    row(case, "crcore", medians(ours))
    row("", "limit", medians(limits))
    if peers:
        them, us = medians(peers), medians(ours)
        row("", args.peer[0], them)
        print("%-26s %-8s %8.1fx %9s %8.1fx" % ("", "ratio", them["dump"] / us["dump"], "",
                                               them["restore"] / us["restore"]), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--crcore", default=os.path.join(TOP, "build", "core", "crcore"))
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--dir", default=None, help="where images are written (default: $TMPDIR or /tmp)")
    p.add_argument("--peer", type=lambda s: s.split("=", 1), help="NAME=PATH of another tool")
    p.add_argument("cases", nargs="*", metavar="CASE", help="some of: %s" % ", ".join(CASES))
    args = p.parse_args()
    unknown = [c for c in args.cases if c not in CASES]
    if unknown or args.runs < 1 or not os.access(args.crcore, os.X_OK):
        p.error("no case '%s'" % unknown[0] if unknown else "no executable %s" % args.crcore)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    scratch = tempfile.mkdtemp(prefix="crcore-bench.", dir=args.dir)
    try:
        load = os.path.join(scratch, "load")
        subprocess.run(["cc", "-O2", "-pthread", "-o", load, os.path.join(TOP, "bench", "load.c")],
                       check=True)
        print("%-26s %-8s %9s %9s %9s %9s %8s" % ("medians of %d, ms" % args.runs, "", "dump",
                                                  "frozen", "restore", "image MiB", "resident"))
        for case in args.cases or CASES:
            bench(case, args, load, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
