# SPDX-License-Identifier: Apache-2.0
"""--trace: the timelines of a dump and of a restore are JSON of complete events, which
nest, and name stages, plugins and tasks; a failed dump has one too; a file that cannot be
written is refused at once, and one that is not whole is told."""
import json
import os
import jobs
import crtest
from crtest import Failure


def load(path, pid, stages):
    with open(path) as f:
        events = json.load(f)["traceEvents"]
    done = [e for e in events if e["ph"] == "X"]
    for e in done:
        if not (e["ts"] >= 0 and e["dur"] >= 0 and e["name"] and e["cat"]):
            raise Failure(f"{path}: {e}")
    have = {(e["cat"], e["name"]) for e in done}
    missing = [s for s in stages if ("stage", s) not in have]
    if missing or not any(c == "plugin" for c, _ in have):
        raise Failure(f"{path}: no {missing}, or no plugins, in {sorted(have)}")
    if pid and not any(e["cat"] == "task" and e["pid"] == pid for e in done):
        raise Failure(f"{path}: nothing of task {pid}")
    rows = {}
    for e in done:
        rows.setdefault((e["pid"], e["tid"]), []).append((e["ts"], e["ts"] + e["dur"]))
    for row, v in rows.items():
        v.sort(key=lambda x: (x[0], -x[1]))
        open_until = []
        for a, b in v:
            while open_until and open_until[-1] <= a:
                open_until.pop()
            if open_until and b > open_until[-1] + 1: # microseconds are rounded
                raise Failure(f"{path}: events of row {row} overlap at {a}")
            open_until.append(b)
    return have


def main(crcore_path, program):
    top = crtest.scratch()
    os.chmod(top, 0o777)
    crcore = crtest.Crcore(crcore_path, top)
    work = os.path.join(top, "work")
    t = crtest.Target([program, work], work)
    crtest.wait_for("the target", crtest.LIMIT, lambda: t.read("ready"))
    image, trace = os.path.join(top, "image"), os.path.join(top, "trace.json")
    have = []
    crcore.dump(t.pid, image + "-full", "-R", "--trace", "/dev/full")
    with open(crcore.log) as f:
        if "the timeline is not whole: No space left" not in f.read():
            raise Failure("nothing is said of a timeline on a full disk")
    for args in (["-R"], []):
        crcore.dump(t.pid, image + "-".join(args), "--trace", trace, *args)
        have.append(load(trace, t.pid, ["load", "observe", "freeze", "collect", "ask", "save", "seal"]))
    if ("frozen", "stands still") not in have[0] or not any(n.startswith("round") for _, n in have[0]):
        raise Failure(f"dump -R: {sorted(have[0])}")
    t.killed()
    rc, _, err = crcore.run("dump", "-t", t.pid, "-D", image + "2", "--trace", trace)
    if not rc or ("stage", "load") not in {(e.get("cat"), e["name"]) for e in
                                          json.load(open(trace))["traceEvents"]}:
        raise Failure(f"a dump of nobody: {rc} {err}")
    rc, _, err = crcore.run("dump", "-t", t.pid, "-D", image + "2", "--trace", top)
    if rc != 1 or "timeline" not in err:
        raise Failure(f"a folder as the timeline: {rc} {err}")
    pid = crcore.restore_detached(image, "--trace", trace)
    load(trace, pid, ["plan", "create", "run", "settle", "release"])
    open(t.path("go"), "w").close()
    crtest.wait_gone(pid)
    if t.read("result").strip() != "pass":
        raise Failure(t.read("result"))


jobs.run(main)
