# SPDX-License-Identifier: Apache-2.0
"""What many tasks share is the same whether the kernel tells it of all at once or, where crcore may
not load programs into the kernel, it is told task by task; so are their groups, and so is who is
refused."""
import json
import os
import re
import subprocess
import jobs
import crtest
import groups
from crtest import Failure

AT_ONCE, ONE_BY_ONE = "what tasks share is told at once", "what tasks share is told one by one: "
SHARED = ("mm", "files", "fs", "sighand")


def target(program, name, *args):
    work = os.path.join(crtest.scratch(), name)
    t = crtest.Target([program, work, *args], work)
    crtest.wait_for("the target", crtest.LIMIT, lambda: t.read("ready") or t.proc.poll() is not None)
    if not t.read("ready"):
        raise Failure(f"it ended: {t.read('result')}{t.read('stderr')}")
    return t


def spread(t):
    """Some of its tasks go to other groups, if there are any here."""
    try:
        groups.need(groups.V1)
    except crtest.Skip as e:
        print(f"without groups: {e}", flush=True)
        return
    for i, pid in enumerate(crtest.snapshot.tree(t.pid)):
        if i % 3:
            groups.Group(groups.V1, f"part{i % 3}").make().add(pid)


def told_at_once(crcore):
    with open(crcore.log) as f:
        log = f.read()
    if (AT_ONCE in log) == (ONE_BY_ONE in log):
        raise Failure(f"nobody says how it was told\n{log}")
    return AT_ONCE in log


def seen(path, crcore, t, name, *args):
    """What the image says of who shares what, and of what they refer to; whether at once."""
    image = os.path.join(crtest.scratch(), name)
    crcore.dump(t.pid, image, *args)
    out = subprocess.run([path, "show", "-D", image, "--json"], check=True, stdout=subprocess.PIPE,
                         timeout=60).stdout
    shown = json.loads(out)
    ret = {x["pid"]: [x.get(k) for k in SHARED] for x in shown["tasks"]}
    return ret, shown, told_at_once(crcore), image


def members(pid):
    """In which groups each process of a tree is."""
    ret = {}
    for p in crtest.snapshot.tree(pid):
        with open(f"/proc/{p}/cgroup") as f:
            ret[p] = f.read()
    return ret


def check_numbers(crcore, image, tasks):
    """Tasks that share descriptors are given some for a moment, by the lowest numbers that are free,
    all at once in the worst case: these must not be numbers that others count on."""
    plan = crcore.restore(image, "--plan")
    numbers = [int(x) for x in re.findall(r"dup3\(\w+, (\d+)\) .*number executable", plan)]
    if not numbers or min(numbers) < tasks:
        raise Failure(f"{tasks} tasks share descriptors, one counts on {min(numbers, default=None)}")


def main(path, program):
    crcore = crtest.Crcore(path, crtest.scratch())
    refused = crtest.Crcore(path, crtest.scratch(), crtest.WITHOUT_PROGRAMS)
    refused.count = 100
    t = target(program, "work")
    spread(t)
    before = members(t.pid)
    one, shown_one, at_once, _ = seen(path, refused, t, "one", "-R")
    if at_once:
        raise Failure("it loaded a program all the same")
    all_, shown_all, at_once, image = seen(path, crcore, t, "all")
    if len({tuple(v) for v in one.values()}) < 4:
        raise Failure(f"too little is shared to tell: {one}")
    if one != all_:
        raise Failure(f"not the same is shared:\n{one}\n{all_}")
    for key in ("fs", "mms", "files", "sighands"):
        if key in shown_one and key != "mms" and shown_one[key] != shown_all[key]:
            raise Failure(f"{key} differ:\n{shown_one[key]}\n{shown_all[key]}")
    t.killed()
    check_numbers(crcore, image, len(all_))
    pid = crcore.restore_detached(image)
    after = members(pid)
    if after != before:
        raise Failure(f"groups were\n{before}\nand are\n{after}")
    open(t.path("go"), "w").close()
    crtest.wait_gone(pid)
    if t.read("result").strip() != "pass":
        raise Failure(f"after the restore: {t.read('result')}{t.read('stderr')}")
    t = target(program, "apart", "apart")
    for tool in refused, crcore:
        rc, _, err = tool.run("dump", "-t", t.pid, "-D", os.path.join(crtest.scratch(), "none"), "-R")
        if not rc or "another uts namespace" not in err:
            raise Failure(f"a namespace of its own: status {rc}\n{err}")
    open(t.path("go"), "w").close()
    t.wait()
    if not at_once:
        raise crtest.Skip("this kernel takes no program")


jobs.run(main)
