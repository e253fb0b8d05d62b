# SPDX-License-Identifier: Apache-2.0
"""Files that no task holds open, taken with --tmp-file: removed, restored, compared in
contents, holes, owner, mode, times, attributes, links; what becomes of files that exist;
a restore that fails takes everything back; no symbolic link is followed."""
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import jobs
import crtest
from crtest import Failure

ACL = bytes.fromhex("02000000" "01000600ffffffff" "0200070021030000" "04000400ffffffff"
                    "10000700ffffffff" "20000000ffffffff")
MIB = 1 << 20


def put(path, data=b"", at=0, size=None):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.pwrite(fd, data, at)
    if size is not None:
        os.ftruncate(fd, size)
    os.close(fd)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def extents(path):
    ret, at = [], 0
    fd = os.open(path, os.O_RDONLY)
    try:
        while True:
            start = os.lseek(fd, at, os.SEEK_DATA)
            at = os.lseek(fd, start, os.SEEK_HOLE)
            digest = hashlib.sha256()
            for pos in range(start, at, MIB):
                digest.update(os.pread(fd, min(MIB, at - pos), pos))
            ret.append((start, at, digest.hexdigest()))
    except OSError: # ENXIO: no more data
        return ret
    finally:
        os.close(fd)


def describe(top):
    """All that has to come back, by path; hard links are those of the same number."""
    ret, inodes = {}, {}
    for folder, dirs, leaves in sorted(os.walk(top)):
        for path in [folder] + sorted(os.path.join(folder, x) for x in leaves + dirs):
            st = os.lstat(path)
            if stat.S_ISSOCK(st.st_mode) or (stat.S_ISDIR(st.st_mode) and path != folder):
                continue
            attributes = {x: os.getxattr(path, x, follow_symlinks=False)
                          for x in os.listxattr(path, follow_symlinks=False)}
            what = None
            if stat.S_ISREG(st.st_mode):
                what = st.st_size, extents(path)
            elif stat.S_ISLNK(st.st_mode):
                what = os.readlink(path)
            ret[path] = (oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, st.st_nlink,
                         inodes.setdefault(st.st_ino, len(inodes)), attributes, what)
    return ret


def fill(top):
    """One of everything."""
    deep = os.path.join(top, "deep", "deeper")
    os.makedirs(deep)
    os.makedirs(os.path.join(top, "empty"))
    name = os.path.join
    put(name(top, "plain"), b"contents\n" * 1000)
    put(name(top, "nothing"))
    put(name(top, "hole"), size=3 * MIB)
    put(name(top, "sparse"), b"in the middle", 5 * MIB, 9 * MIB)
    put(name(top, "huge"), b"at the end", (1 << 36) - 10)
    put(name(deep, "attributes"), b"x")
    os.setxattr(name(deep, "attributes"), "trusted.a b", bytes(range(256)))
    os.setxattr(name(deep, "attributes"), "trusted.empty", b"")
    os.setxattr(name(deep, "attributes"), "system.posix_acl_access", ACL)
    os.setxattr(name(top, "empty"), "system.posix_acl_default", ACL)
    os.link(name(deep, "attributes"), name(top, "second"))
    put(os.fsencode(top) + b"/not \xff utf-8", b"bytes")
    os.symlink("/nowhere/at all", name(top, "link"))
    os.setxattr(name(top, "link"), "trusted.link", b"1", follow_symlinks=False)
    os.symlink("plain", name(deep, "near"))
    os.mkfifo(name(top, "fifo"), 0o640)
    os.chown(name(top, "fifo"), 12, 34)
    os.chown(name(top, "link"), 56, 78, follow_symlinks=False)
    os.chown(name(top, "plain"), 1, 2)
    os.chmod(name(top, "plain"), 0o6751)
    os.chmod(deep, 0o1555)
    for path, when in ((name(top, "plain"), 123456789987654321), (name(top, "link"), 10**18 + 7),
                       (name(deep, "attributes"), -1500000001), (deep, 1111111111222222222),
                       (top, 1333333333444444444)):
        os.utime(path, ns=(when + 5, when), follow_symlinks=False)


class Test:
    def __init__(self, crcore_path):
        self.top = crtest.scratch()
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.count = 0
        self.files = os.path.join(self.top, "files")

    def dump(self, *args):
        """Makes an image of a program that has nothing to do with the files."""
        self.count += 1
        self.image = os.path.join(self.top, f"image-{self.count}")
        t = crtest.Target(["/bin/sleep", "1000"], os.path.join(self.top, f"work-{self.count}"))
        crtest.wait_for("sleep", 10, lambda: os.readlink(f"/proc/{t.pid}/exe").endswith("sleep"))
        self.crcore.dump(t.pid, self.image, *args)
        t.killed()

    def restore(self, *args):
        pid = self.crcore.restore_detached(self.image, *args)
        os.kill(pid, 9)
        crtest.wait_gone(pid)

    def refused(self, words, verb, *args):
        rc, out, err = self.crcore.run(verb, *args, log=False)
        lines = [x for x in err.splitlines() if x.startswith("Error")]
        if rc != 1 or len(lines) != 1 or [x for x in words if x not in lines[0]]:
            raise Failure(f"{verb}: status {rc}, {words} expected in:\n{out}{err}")
        print(lines[0])

    def restore_refused(self, words, *args):
        self.refused(words, "restore", "-d", "-D", self.image, *args)

    def same(self, before, what, top_changed=False):
        """top_changed: files came and went, so the time of their directory is another."""
        after = describe(self.files)
        if top_changed:
            before.pop(self.files)
            after.pop(self.files)
        for path in sorted({*before, *after}):
            if before.get(path) != after.get(path):
                raise Failure(f"{what}: {path!r}: {before.get(path)} became {after.get(path)}")

    def fresh(self):
        shutil.rmtree(self.files, ignore_errors=True)
        os.makedirs(self.files)

    def everything(self):
        fill(self.files)
        before = describe(self.files)
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.join(self.files, "socket"))
        when = os.stat(self.files).st_mtime_ns
        os.unlink(os.path.join(self.files, "socket"))
        os.utime(self.files, ns=(when, before[self.files][3]))
        self.dump("--tmp-file", self.files)
        blocks = os.stat(os.path.join(self.image, "tmpfiles.archive.bin")).st_size
        if blocks > 4 * MIB:
            raise Failure(f"the archive has {blocks} bytes: holes are in it")
        self.same(before, "the dump")
        self.restore() # untouched: nothing to do
        self.same(before, "a restore beside the files")
        shutil.rmtree(self.files)
        self.restore()
        self.same(before, "the restore")

    def patterns(self):
        for x in ("a.pid", "b.pid", "c.log", ".d.pid"):
            put(os.path.join(self.files, x), x.encode())
        os.makedirs(os.path.join(self.files, "sub", "x.pid"))
        self.dump("--tmp-file", f"{self.files}/*.pid", "--tmp-file", f"{self.files}/*/?.p[hij]d",
                  "--tmp-file", f"{self.files}/none-*")
        shutil.rmtree(self.files)
        self.restore()
        found = sorted(os.path.relpath(x, self.files) for x in describe(self.files))
        if found != [".", "a.pid", "b.pid", "sub", "sub/x.pid"]:
            raise Failure(f"patterns: {found}")

    def exists(self):
        path = os.path.join(self.files, "f")
        put(path, b"saved")
        os.link(path, os.path.join(self.files, "g"))
        self.dump("--tmp-file", self.files)
        os.unlink(path)
        put(path, b"other")
        before = describe(self.files)
        self.restore_refused([path, "exists"])
        self.same(before, "a refused restore")
        self.restore("--set", "tmpfiles.exists=keep")
        if get(path) != b"other":
            raise Failure("exists: keep has not kept the file")
        before = describe(self.files)
        self.restore_refused(["not complete in time"], "--set", "tmpfiles.exists=replace", "--set",
                             "restore.timeout=1ns")
        self.same(before, "a restore that failed after it had replaced files", True)
        self.restore("--set", "tmpfiles.exists=replace")
        if get(path) != b"saved" or sorted(os.listdir(self.files)) != ["f", "g"] or \
           os.stat(path).st_nlink != 2:
            raise Failure(f"exists: replace: {os.listdir(self.files)}, {get(path)}")
        os.unlink(path)
        os.mkdir(path)
        self.restore_refused([path, "in the way"], "--set", "tmpfiles.exists=replace")

    def taken_back(self):
        fill(self.files)
        self.dump("--tmp-file", self.files)
        shutil.rmtree(self.files)
        self.restore_refused(["not complete in time"], "--set", "restore.timeout=1ns")
        if os.path.lexists(self.files):
            raise Failure(f"a failed restore left {describe(self.files)}")
        os.mkdir(self.files) # too small: it fails in the middle
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", self.files], check=True)
        try:
            self.restore_refused([self.files, "tmpfiles"])
            if os.listdir(self.files):
                raise Failure(f"a failed restore left {os.listdir(self.files)}")
        finally:
            subprocess.run(["umount", self.files], check=True)

    def remapped(self):
        put(os.path.join(self.files, "f"), b"1")
        os.link(os.path.join(self.files, "f"), os.path.join(self.files, "g"))
        other = os.path.join(self.top, "elsewhere")
        self.dump("--tmp-file", self.files)
        shutil.rmtree(self.files)
        self.restore("--set", f"tmpfiles.remap+={self.files}={other}")
        if os.path.lexists(self.files) or sorted(os.listdir(other)) != ["f", "g"] or \
           os.stat(os.path.join(other, "f")).st_nlink != 2:
            raise Failure("remap had no effect")
        self.restore_refused(["/missing", "create the directory"], "--set",
                             f"tmpfiles.remap+={self.files}=/missing/deep")

    def symlinks(self):
        """A directory that became a symbolic link to somebody else's is not entered."""
        inner, victim = os.path.join(self.files, "inner"), os.path.join(self.top, "victim")
        os.mkdir(inner)
        os.mkdir(victim)
        put(os.path.join(inner, "f"), b"1")
        self.dump("--tmp-file", os.path.join(inner, "f"))
        shutil.rmtree(inner)
        os.symlink(victim, inner)
        for policy in ("refuse", "keep", "replace"):
            self.restore_refused([inner], "--set", f"tmpfiles.exists={policy}")
        if os.listdir(victim):
            raise Failure("the symbolic link was followed")
        put(os.path.join(victim, "f"), b"secret")
        t = crtest.Target(["/bin/sleep", "1000"], os.path.join(self.top, "work"))
        image = os.path.join(self.top, "image")
        self.refused([inner, "symbolic link"], "dump", "-t", t.pid, "-D", image, "--tmp-file",
                     os.path.join(inner, "f"))
        self.refused(["relative/path", "absolute"], "dump", "-t", t.pid, "-D", image, "--tmp-file",
                     "relative/path")
        self.refused(["gone"], "dump", "-t", t.pid, "-D", image, "--tmp-file",
                     os.path.join(self.files, "gone"))
        put(os.path.join(self.files, "big"), b"x" * 8192)
        self.refused(["big", "limit"], "dump", "-t", t.pid, "-D", image, "--tmp-file", self.files,
                     "--set", "tmpfiles.limit=4KiB")
        self.crcore.dump(t.pid, image, "--tmp-file", f"{self.files}/*/f") # matches nothing
        t.killed()

    def own_folder(self):
        """What crcore and the tree have open is not for this plugin; nor is the image."""
        put(os.path.join(self.top, "beside"), b"1")
        self.dump("--tmp-file", self.top)
        os.unlink(os.path.join(self.top, "beside"))
        self.restore("--set", "tmpfiles.exists=keep")
        if get(os.path.join(self.top, "beside")) != b"1":
            raise Failure("the file beside the image did not come back")

    def run(self):
        for step in (self.everything, self.patterns, self.exists, self.taken_back, self.remapped,
                     self.symlinks, self.own_folder):
            self.fresh()
            step()
            print(f"{step.__name__}: passed", flush=True)


jobs.run(lambda crcore, *only: Test(crcore).run())
