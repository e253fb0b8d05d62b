# SPDX-License-Identifier: Apache-2.0
"""A fork bomb in a control group of its own is stopped by the freezer, whole at once: nobody is
lost, and it goes off again after dump -R and after a restore."""
import os
import shutil

import jobs
import crtest
import groups
from crtest import Failure
from groups import V1, Group


def bomb(crcore_path, program, hierarchy):
    label = f"version {1 if hierarchy == V1 else 2}"
    top = os.path.join(crtest.scratch(), hierarchy)
    os.mkdir(top)
    os.chmod(top, 0o777)
    crcore = crtest.Crcore(crcore_path, top)
    work = os.path.join(top, "work")
    group = Group(hierarchy, "bomb").make()
    # It is in its group from the beginning.
    t = crtest.Target(["/bin/sh", "-c", 'echo $$ > "$0" && exec "$1" "$2"',
                       os.path.join(group.path, "cgroup.procs"), program, work], work).ready()
    for i in range(3):
        image = os.path.join(top, f"left-{i}")
        crcore.dump(t.pid, image, "-R")
        with open(crcore.log) as f:
            if "stopped by cgroup" not in f.read():
                raise Failure(f"{label}: not stopped by its group\n{crcore.tail()}")
        if group.own():
            raise Failure(f"{label}: its group is still frozen")
        shutil.rmtree(image)
    image = os.path.join(top, "image")
    crcore.dump(t.pid, image)
    t.killed()
    if group.pids() or group.own():
        raise Failure(f"{label}: after the dump {group.pids()} are in its group")
    crcore.restore_detached(image)
    if t.pid not in group.pids():
        raise Failure(f"{label}: it is not in its group after the restore")
    open(t.path("go"), "w").close()
    crtest.wait_gone(t.pid)
    if t.read("result").strip() != "pass":
        raise Failure(f"{label}: {t.read('result')}\n{t.read('stderr')}")
    group.remove()
    shutil.rmtree(top)
    print(f"{label}: passed", flush=True)


def main(crcore, program):
    groups.each(lambda hierarchy: bomb(crcore, program, hierarchy))


jobs.run(main)
