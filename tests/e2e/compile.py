# SPDX-License-Identifier: Apache-2.0
"""make -j with gcc builds a real source tree (the one this test is part of: its core
library), checkpointed with compilers running; every object must be identical."""
import glob
import os
import shutil
import sys
import jobs
import crtest

MAKEFILE = """
CFLAGS = -std=gnu17 -O2 -g -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DCRCORE_FAULT_INJECTION \\
	-I. -Iinclude -Igenerated -w
SOURCES := $(sort $(wildcard core/*/*.c plugins/*/*.c))
OBJECTS := $(SOURCES:.c=.o)
all: libjob.a
libjob.a: $(OBJECTS)
	rm -f $@
	ar rcD $@ $(OBJECTS)
"""


def prepare(root, build):
    """The sources, and the headers that the build has generated."""
    def fill(work):
        for folder in ("core", "plugins", "include", "parasite"):
            shutil.copytree(os.path.join(root, folder), os.path.join(work, folder))
        for header in glob.glob(os.path.join(build, "**", "*.h"), recursive=True):
            to = os.path.join(work, "generated", os.path.relpath(header, build))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy(header, to)
        with open(os.path.join(work, "Makefile"), "w") as f:
            f.write(MAKEFILE)
    return fill


def results(work):
    names = glob.glob(os.path.join(work, "**", "*.o"), recursive=True)
    names.append(os.path.join(work, "libjob.a"))
    return {os.path.relpath(x, work): jobs.sha256(x) for x in names}


def main(crcore, root, build):
    crtest.need("make")
    crtest.need("gcc")
    # -k: a file that needs a flag of the real build is left out, both times.
    job = jobs.Job(crcore, ["make", "-k", "-j3", "all"], results, prepare(root, build))
    job.undisturbed()
    job.disturbed(2 if jobs.SHORT else 6)
    job.left_running(2 if jobs.SHORT else 4)


jobs.run(main)
