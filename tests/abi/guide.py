#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Follows docs/plugin-guide.md: takes the plugin, the policy and the commands
out of the guide, builds out of tree against an installed copy of crcore, and
checkpoints a reader of /dev/kmsg with the result."""
import os
import re
import shutil
import subprocess

import abilib
import crtest
from crtest import Failure, Skip

GUIDE = os.path.join(abilib.SOURCE, "docs", "plugin-guide.md")


def blocks(kind):
    with open(GUIDE) as f:
        return re.findall(rf"^```{kind}\n(.*?)^```$", f.read(), re.M | re.S)


def source():
    """The pieces of C in the guide are, in order, docs/examples/kmsg.c."""
    pieces = blocks("c kmsg.c")
    with open(os.path.join(abilib.SOURCE, "docs", "examples", "kmsg.c")) as f:
        whole = f.read()
    at = 0
    for p in pieces:
        found = whole.find(p, at)
        if found < 0 or whole[at:found].strip():
            raise Failure(f"docs/plugin-guide.md differs from docs/examples/kmsg.c near\n{p[:300]}")
        at = found + len(p)
    if not pieces or whole[at:].strip():
        raise Failure(f"docs/plugin-guide.md lacks the end of docs/examples/kmsg.c:\n{whole[at:]}")
    return whole


def second_source():
    """What the guide shows of the other example stands in it."""
    with open(os.path.join(abilib.SOURCE, "docs", "examples", "mce.c")) as f:
        whole = f.read()
    for p in blocks("c mce.c"):
        if p not in whole:
            raise Failure(f"docs/plugin-guide.md differs from docs/examples/mce.c near\n{p[:300]}")
    return whole


def install(folder):
    """An installed copy: the header and crcore.pc, and crcore too if it is built."""
    meson = shutil.which("meson")
    if not meson:
        raise Skip("meson is not there to install")
    tags = "devel,runtime" if os.access(abilib.CRCORE, os.X_OK) else "devel"
    p = subprocess.run([meson, "install", "-C", abilib.BUILD, "--no-rebuild", "--tags", tags,
                        "--destdir", folder], capture_output=True, text=True, timeout=100)
    if p.returncode:
        raise Failure(f"meson install: {p.stdout}{p.stderr}")
    found = {}
    for path, _, names in os.walk(folder):
        found.update({n: os.path.join(path, n) for n in names})
    return found


def environment(root, installed):
    env = dict(os.environ)
    env["PKG_CONFIG_PATH"] = os.path.dirname(installed["crcore.pc"])
    env["PKG_CONFIG_SYSROOT_DIR"] = root
    return env


def build(folder, env):
    """Runs the guide's build commands beside nothing but the plugin's source."""
    os.mkdir(folder)
    abilib.write(os.path.join(folder, "kmsg.c"), source())
    abilib.write(os.path.join(folder, "mce.c"), second_source())
    for cc in ["cc", "clang"]:
        if not shutil.which(cc):
            continue
        for command in blocks("sh build"):
            command = re.sub(r"^cc ", f"{cc} -Werror ", command)
            command += command.replace("kmsg", "mce")
            p = subprocess.run(["sh", "-ec", command], cwd=folder, env=env, text=True,
                               capture_output=True, timeout=60)
            if p.returncode or p.stderr:
                raise Failure(f"{command}: {p.stderr}")
    abilib.write(os.path.join(folder, "bare.yaml"), "version: 1\nplugins: { files: {} }\n")
    for policy in blocks("yaml kmsg.yaml"):
        abilib.write(os.path.join(folder, "kmsg.yaml"), policy)
        abilib.write(os.path.join(folder, "both.yaml"), policy + "  mce: {}\n")


def checkpoint(crcore, folder, name, mce):
    """Records that come before, during and after the dump are each read once, in order."""
    policy = ["--policy", os.path.join(folder, f"{name}.yaml")]
    images = os.path.join(folder, f"images-{name}")
    target = abilib.Holder(os.path.join(folder, f"target-{name}"))
    for i in range(3):
        target.say(i)
    crtest.wait_for("three records", 10, lambda: len(target.printed()) == 3)
    rc, out, err = crcore.run("dump", "-t", target.pid, "-D", images, "--policy",
                              os.path.join(folder, "bare.yaml"))
    lines = abilib.error_lines(err)
    if not rc or len(lines) != 1 or "/dev/kmsg" not in lines[0]:
        raise Failure(f"without the plugin: status {rc}\n{err}")
    target.must_run()
    crcore.must("check", "-t", target.pid, *policy)
    for i in range(3, 20): # some of these are unread when the dump begins
        target.say(i)
    crcore.dump(target.pid, images, *policy)
    target.killed()
    for i in range(20, 25): # nobody is there to read these
        target.say(i)
    pid = crcore.restore_detached(images, *policy)
    if pid != target.pid:
        raise Failure(f"restored as {pid} instead of {target.pid}")
    target.must_run()
    target.say("end")
    crtest.wait_gone(pid, 20)
    want = [*map(str, range(25)), "end", "mce", mce]
    if target.printed() != want:
        raise Failure(f"read {target.printed()}\ninstead of {want}\n{target.read('stderr')}")


def main():
    folder = crtest.scratch()
    root = os.path.join(folder, "root")
    installed = install(root)
    work = os.path.join(folder, "work")
    build(work, environment(root, installed))
    abilib.need_crcore()
    os.environ["CRCORE_PLUGIN_PATH"] = f"{work}:{os.path.dirname(installed['files.so'])}"
    crcore = crtest.Crcore(installed["crcore"], folder)
    out = crcore.must("plugins", "--policy", os.path.join(work, "kmsg.yaml"), log=False)
    if "claims    /dev/kmsg (exact)" not in out or work not in out:
        raise Failure(f"crcore plugins: {out}")
    checkpoint(crcore, work, "kmsg", "2") # the default
    checkpoint(crcore, work, "both", "1") # as the process had set it


crtest.main(main)
