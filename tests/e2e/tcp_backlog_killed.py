# SPDX-License-Identifier: Apache-2.0
"""crcore is killed (kill -9) while it takes connections out of a backlog, at each single call and at
any moment, and while it puts them into one: they wait again, or for the next restore; no rule, no
program is left, and the peers notice nothing."""
import os
import random
import subprocess
import time

import jobs
import crtest
import nft
from backlogs import SHAPES, Case
from crtest import Failure


def killed(crcore_path, rules, kill_at):
    """At each call from the first of them that is read to the last."""
    before = rules.ruleset()
    c = Case(crcore_path, "killed", "127.0.0.1", ("127.0.0.1",),
             ((1,), (5000, "closed"), (3, "open", True), (0,)))
    rc, n = 1, 0
    while rc:
        n += 1
        env = {"LD_PRELOAD": os.path.abspath(kill_at), "CRCORE_KILL_AT": str(n),
               **(crtest.NO_LEAK_SEARCH or {})}
        image = c.image()
        rc, _, _ = c.crcore.run("dump", "-t", c.t.pid, "-D", image, "--set", "tcp.in-flight=keep",
                                env=env)
        crtest.wait_for("crcore to be gone", crtest.LIMIT, lambda: not crtest.running(crcore_path))
        if c.t.proc.poll() is not None:  # too late: the image was complete
            break
        if rc:
            c.quiet()
            if rules.ruleset() != before:
                raise Failure(f"rules were left by kill {n}:\n{rules.ruleset()}")
    if n < 10:
        raise Failure(f"only {n} calls")
    c.t.killed()
    c.crcore.restore_detached(image)
    c.finish()
    print(f"killed: put back at each of {n - 1} calls", flush=True)


def links():
    """Programs at the loopback device."""
    out = subprocess.run(["ip", "-d", "link", "show", "lo"], check=True, capture_output=True, text=True)
    return out.stdout


def kill_sometime(c, crcore_path, rng, *words):
    """kill -9 of the process that does the work, at a moment of the command."""
    p = c.crcore.start(*words, env=crtest.NO_LEAK_SEARCH, stdout=subprocess.DEVNULL)
    time.sleep(rng.uniform(0, 0.08))
    crtest.kill_some(p, 1)
    c.crcore.finish(p)
    crtest.wait_for("crcore to be gone", crtest.LIMIT, lambda: not crtest.running(crcore_path))


def any_moment(crcore_path, rules):
    """Killed dumps leave all as it was, killed restores leave the peers waiting for the next."""
    before, links_before = rules.ruleset(), links()
    # One that was reset is out of the lock for a moment, and may be lost with a killed dump.
    c = Case(crcore_path, "any-moment", "127.0.0.1", ("127.0.0.1",),
             [x for x in SHAPES if "ConnectionResetError" not in x])
    rng = random.Random(4)
    mine = True
    for _ in range(8):
        image = c.image()
        kill_sometime(c, crcore_path, rng, "dump", "-t", c.t.pid, "-D", image, "--set",
                      "tcp.in-flight=keep")
        if c.t.proc.poll() is not None:  # it came too late
            mine = False
            break
        c.quiet()
        if rules.ruleset() != before or links() != links_before:
            raise Failure(f"left by a killed dump:\n{rules.ruleset()}{links()}")
    if mine:
        image = c.image()
        c.crcore.dump(c.t.pid, image, "--set", "tcp.in-flight=keep")
        c.t.killed()
    between, done = rules.ruleset(), False
    for _ in range(8):
        kill_sometime(c, crcore_path, rng, "restore", "-D", image, "-d")
        for p in c.peers:
            p.quiet()
        done = crtest.start_time(c.t.pid) != 0 and rules.ruleset() == before
        if done:
            break
        crtest.wait_gone(c.t.pid)
        if rules.ruleset() != between or links() != links_before:
            raise Failure(f"left by a killed restore:\n{rules.ruleset()}{links()}")
    if not done:
        c.crcore.restore_detached(image)
    c.finish()
    if rules.ruleset() != before or links() != links_before:
        raise Failure(f"left:\n{rules.ruleset()}{links()}")
    print("any moment: dumps and restores that were killed", flush=True)


def test(crcore_path, kill_at):
    crtest.need("ip")
    rules = nft.Nft()
    killed(crcore_path, rules, kill_at)
    any_moment(crcore_path, rules)


jobs.run(test)
