# SPDX-License-Identifier: Apache-2.0
"""kill -9 of crcore at random moments of restores that make files: contents of deleted ones,
FIFOs, sockets with names, files of the image in place of changed ones. Where the tree is not
there afterwards its folder is as it was. CRCORE_TEST_KILLS is how often, for each program (15)."""
import os
import stat
import jobs
import crtest
from restore_kills import Kills


class Names(Kills):
    kills = int(os.environ.get("CRCORE_TEST_KILLS", "6" if jobs.SHORT else "15"))
    dump_args = ("--link-remap", "--set", "files.changed-file=embed")
    wanted = None

    def names(self):
        ret = {}
        for folder, _, files in os.walk(os.path.join(self.top, "work")):
            for x in [folder, *(os.path.join(folder, f) for f in files)]:
                st = os.lstat(x)
                ret[x] = st.st_ino, st.st_mode
                if stat.S_ISREG(st.st_mode):
                    ret[x] += st.st_size, st.st_mtime_ns
        return ret

    def tidy(self):
        """The tree is dumped and gone. A file that is not what it was any more is embedded."""
        for name in ("append", "shared"):
            path = os.path.join(self.top, "work", name)
            if os.path.exists(path):
                with open(path, "a") as f:
                    f.write("more")
        self.wanted = self.names()

    def objects(self):
        now = self.names()
        return [x for x in {*now, *self.wanted} if now.get(x) != self.wanted.get(x)]


class TmpFiles(Names):
    """With files that no task has open, of which one is there in another shape."""
    def __init__(self, crcore, program):
        super().__init__(crcore, program, "tmp-files")
        self.folder = os.path.join(self.top, "work", "tmp")
        self.dump_args = "--tmp-file", self.folder, "--set", "tmpfiles.exists=replace"
        os.makedirs(os.path.join(self.folder, "deep"))
        for name in ("there", "gone", "deep/gone"):
            self.write(name, "old")
        os.link(os.path.join(self.folder, "gone"), os.path.join(self.folder, "link"))

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as f:
            f.write(text)

    def tidy(self):
        self.write("there", "new and longer")
        for name in ("gone", "link", "deep/gone"):
            os.unlink(os.path.join(self.folder, name))
        os.rmdir(os.path.join(self.folder, "deep"))
        self.wanted = self.names()

    def go_on(self):
        for name in ("there", "gone", "link", "deep/gone"):
            with open(os.path.join(self.folder, name)) as f:
                if f.read() != "old":
                    raise crtest.Failure(f"{name} is not what it was")


def main(crcore, *programs):
    for program in programs:
        Names(crcore, program).run()
    TmpFiles(crcore, programs[0]).run()


jobs.run(main)
