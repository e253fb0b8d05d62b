# SPDX-License-Identifier: Apache-2.0
"""The commands that only look: show, show --json, restore --plan, check, exec, plugins,
policy, help; on a real image and a real tree, which they leave as they are. And what the
benchmarks say where nothing was built."""
import json
import os
import subprocess
import sys
import jobs
import crtest
import snapshot
from crtest import Failure


def expect(what, text, *words):
    for word in words:
        if str(word) not in text:
            raise Failure(f"{what} does not say {word!r}:\n{text[:3000]}")


def benchmarks_without_build(folder):
    env = {k: v for k, v in os.environ.items() if k != "CRCORE_TEST_DIR"}
    for name in ("run", "compress"):
        script = os.path.join(os.path.dirname(__file__), "..", "..", "bench", name)
        p = subprocess.run([sys.executable, "-B", script, "--build", folder], env=env, text=True,
                           stderr=subprocess.PIPE, timeout=60, check=False)
        expect(f"bench/{name} without a build", p.stderr, folder, "ninja", "--build DIR")
        if p.returncode != 1 or p.stderr.count("\n") != 1:
            raise Failure(f"bench/{name} without a build: {p.returncode} {p.stderr}")


def main(crcore_path, program):
    top = crtest.scratch()
    os.chmod(top, 0o777)
    benchmarks_without_build(top)
    crcore = crtest.Crcore(crcore_path, top)
    work, image = os.path.join(top, "work"), os.path.join(top, "image")
    t = crtest.Target([program, work], work).ready()
    before = snapshot.settled(t.pid)
    pids = snapshot.tree(t.pid)
    name = os.path.basename(program)[:15]

    expect("check", crcore.must("check", log=False))
    expect("check -t", crcore.must("check", "-t", t.pid, log=False))
    json.loads(crcore.must("check", "--json", log=False))
    json.loads(crcore.must("check", "-t", t.pid, "--json", log=False))
    expect("exec", crcore.must("exec", "-t", t.pid, "getpid", log=False), t.pid)
    expect("plugins", crcore.must("plugins", log=False), "files")
    json.loads(crcore.must("plugins", "--json", log=False))
    expect("policy", crcore.must("policy", log=False), "plugins", "files")
    expect("policy", crcore.must("policy", "--ghost-limit", "3MiB", log=False), "3MiB",
           "--ghost-limit")
    expect("policy", crcore.must("policy", env={"CRCORE_GHOST_LIMIT": "5MiB"}, log=False), "5MiB",
           "CRCORE_GHOST_LIMIT")
    json.loads(crcore.must("policy", "--json", log=False))
    expect("help", crcore.must("help", log=False), "dump", "restore")
    for verb in ("dump", "restore", "check", "show", "exec", "plugins", "policy"):
        expect(f"help {verb}", crcore.must("help", verb, log=False), f"crcore {verb}")
    lines = snapshot.diff(before, snapshot.take(t.pid))
    if lines:
        raise Failure("looking changed the tree:\n" + "\n".join(lines))

    crcore.dump(t.pid, image, "-v4")
    t.killed()
    with open(crcore.log, errors="replace") as f:
        loaded = f.read()
    log = os.path.join(crtest.scratch(), "log of before")
    with open(log, "w") as f:
        f.write("older\n" * 1000)
    crcore.must("check", "-v4", "-o", log, log=False)
    with open(log) as f:
        text = f.read()
    if "older" in text or "loaded from" not in text:
        raise crtest.Failure(f"a log is written over the one before: {text[:200]}")
    expect("the log of dump", loaded, "files 1: loaded from")
    if "udp 1: loaded" in loaded:
        raise Failure("a plugin was loaded that nothing of the tree concerns")
    text = crcore.must("show", "-D", image, log=False)
    expect("show", text, name, *pids)
    records = json.loads(crcore.must("show", "--json", "-D", image, log=False))
    expect("show --json", json.dumps(records), t.pid)
    expect("restore --plan", crcore.must("restore", "--plan", "-D", image, log=False), "mmap",
           *pids)
    if crtest.start_time(t.pid):
        raise Failure("restore --plan made a process")
    used = [p["name"] for p in records["manifest"]["plugins"] if not p.get("idle")]
    expect("restore --plan with the plugins that it needs",
           crcore.must("restore", "--plan", "-D", image, "--plugins", ",".join(used), log=False),
           *pids)
    if "udp" in used:
        raise Failure("a tree without sockets needs a plugin for them")
    crcore.restore_detached(image)
    open(t.path("go"), "w").close()
    crtest.wait_gone(t.pid)
    if t.read("result").strip() != "pass":
        raise Failure(f"{t.read('result')}\n{t.read('stderr')}")


jobs.run(main)
