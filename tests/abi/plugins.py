#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`crcore plugins` with plugins of several makes: one of the first ABI, kept as
a binary, one in C++, both beside those that crcore brings."""
import json
import os
import platform
import shutil
import subprocess

import abilib
import crtest
from crtest import Failure, Skip

POLICY = """version: 1
plugins:
  cplusplus: {{}}
  files: {{}}
  {first}: {{ number: {number}, choice: red, list: [ a, b ], map: {{ k: v }}, time-limit: 3s }}
order:
  save:
    cplusplus: {{ after: [ first-abi ] }}
"""


def build_cplusplus(folder):
    """Plugins in C++, from the header alone; with both compilers if they are there."""
    made = None
    for cxx in ["clang++", "g++"]:
        if not shutil.which(cxx):
            continue
        made = os.path.join(folder, "cplusplus.so")
        p = subprocess.run([cxx, "-std=c++17", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
                            "-O2", "-fPIC", "-shared", "-I", os.path.join(abilib.SOURCE, "include"),
                            "-o", made, os.path.join(abilib.SOURCE, "tests/abi/cplusplus.cc")],
                           capture_output=True, text=True, timeout=100)
        if p.returncode:
            raise Failure(f"{cxx}: {p.stderr}")
    if not made:
        raise Skip("no C++ compiler")


def main():
    if platform.machine() != "x86_64":
        raise Skip("first-abi.so is kept for x86-64")
    folder = crtest.scratch()
    build_cplusplus(folder)
    if not os.access(abilib.CRCORE, os.X_OK):
        raise Skip("crcore is not built")
    os.environ["CRCORE_PLUGIN_PATH"] = folder
    first = os.path.join(abilib.BUILD, "tests", "abi", "first-abi.so")
    crcore = crtest.Crcore(abilib.CRCORE, folder)
    policy = os.path.join(folder, "policy.yaml")
    abilib.write(policy, POLICY.format(first=first, number=5))
    all = json.loads(crcore.must("plugins", "--json", "--policy", policy, log=False))
    names = [p["name"] for p in all["plugins"]]
    if names != ["cplusplus", "files", "first-abi"]:
        raise Failure(f"loaded {names}")
    old = all["plugins"][2]
    if old["abi"] != 1 or old["time_limit_ns"] != 3000000000 or "review" in old["hooks"]:
        raise Failure(f"first-abi: {old}")
    save = all["order"]["save"]
    if save.index("cplusplus") < save.index("first-abi"):
        raise Failure(f"order of save: {save}")
    text = crcore.must("plugins", "--policy", policy, log=False)
    for part in ["is written in C++", "number: int, default 7", "CAP_SYS_ADMIN, held"]:
        if part not in text:
            raise Failure(f"\"{part}\" is not in\n{text}")
    # A plugin that refuses its options, found by check: its own words come out.
    abilib.write(policy, POLICY.format(first=first, number=13))
    rc, out, err = crcore.run("check", "-t", os.getpid(), "--policy", policy)
    if rc != 1 or abilib.error_lines(err) != [
            "Error: first-abi: pid 1: fd 2: number: 13 is no good; take another number"]:
        raise Failure(f"status {rc}: {err}")


crtest.main(main)
