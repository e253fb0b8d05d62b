# SPDX-License-Identifier: Apache-2.0
"""make -j with the compiler builds a real source tree (the one this test is part of),
checkpointed with compilers running; every object must be identical. The commands are
those of the build that runs the test."""
import glob
import json
import os
import shlex
import jobs
import crtest


FOLDERS = ("core/image", "core/policy")


def without_dependencies(words):
    """The words of a command, less where it writes, and sanitizers, which take their time."""
    it = iter(words)
    for word in it:
        if word in ("-MD", "-MMD") or word.startswith("-fsanitize"):
            continue
        if word in ("-MQ", "-MF", "-o"):
            next(it)
            continue
        yield word


def makefile(build):
    with open(os.path.join(build, "compile_commands.json")) as f:
        commands = json.load(f)
    rules, objects = [], []
    for c in commands:
        path = os.path.normpath(os.path.join(c["directory"], c["file"]))
        if not c["output"].startswith(FOLDERS) or not path.endswith(".c"):
            continue
        name = c["output"].replace("/", "_")
        words = shlex.join(without_dependencies(shlex.split(c["command"]))).replace("$", "$$")
        rules.append(f"{name}:\n\tcd {shlex.quote(c['directory'])} && {words} -o $(CURDIR)/$@\n")
        objects.append(name)
    return (f"all: job.a\njob.a: {' '.join(objects)}\n\tar rcD $@ $^\n" + "".join(rules))


def prepare(build):
    text = makefile(build)

    def fill(work):
        with open(os.path.join(work, "Makefile"), "w") as f:
            f.write(text)
    return fill


def results(work):
    return {os.path.basename(x): jobs.sha256(x) for x in glob.glob(os.path.join(work, "*.[oa]"))}


def main(crcore, build):
    crtest.need("make")
    job = jobs.Job(crcore, ["make", "-j3", "all"], results, prepare(build))
    job.undisturbed()
    job.disturbed(2 if jobs.SHORT else 3)
    job.left_running(2)


jobs.run(main)
