# SPDX-License-Identifier: Apache-2.0
"""Files that are not what they were at the dump, by the policy of each path; what stays
outside the tree; locks that somebody outside holds too."""
import fcntl
import os
import subprocess
import jobs
import crtest
from crtest import Failure

HOLDER = """
import os, time
files = {x: open(x, "r+") for x in ("cut.log", "kept.dat", "grown.log", "plain")}
for f in files.values():
    f.seek(2)
os.mknod("ready")
while not os.path.exists("go"):
    time.sleep(0.01)
for name, f in files.items():
    print(name, f.read(), flush=True)
"""
WRITER = """
import os, time
os.mknod("ready")
n = 0
while not os.path.exists("go"):
    time.sleep(0.01)
os.write(int(os.environ["OUT"]), b"from inside")
"""
NAMES = ("cut.log", "kept.dat", "grown.log", "plain")
POLICY = [x for pair in ("*/cut.log=truncate", "*/kept.dat=embed", "*/grown.log=grew")
          for x in ("--set", f"files.changed+={pair}")]


class Test:
    def __init__(self, path, failing):
        self.failing = failing  # a plugin
        self.top = crtest.scratch()
        self.crcore = crtest.Crcore(path, self.top)
        self.count = 0

    def target(self, program, **kw):
        self.count += 1
        work = os.path.join(self.top, f"work-{self.count}")
        os.mkdir(work)
        for name in NAMES:
            with open(os.path.join(work, name), "w") as f:
                f.write("0123456789\n")
        self.image = work + ".image"
        t = Target([jobs.python(), "-c", program], work, cwd=work, **kw)
        crtest.wait_for("the target", crtest.LIMIT, lambda: os.path.exists(t.path("ready")))
        return t

    def contents(self, t):
        ret = {}
        for x in os.listdir(t.folder):
            with open(t.path(x)) as f:
                ret[x] = f.read()
        return ret

    def by_path(self):
        t = self.target(HOLDER)
        self.crcore.dump(t.pid, self.image, *POLICY)
        t.killed()
        for name in ("cut.log", "grown.log"):
            with open(t.path(name), "a") as f:
                f.write("more\n")
        with open(t.path("kept.dat"), "w") as f:
            f.write("quite another one\n")
        before = self.contents(t)
        rc, _, err = self.crcore.run("restore", "-d", "-D", self.image, "--pidfile", "/proc")
        if rc != 1 or "pid file" not in err:
            raise Failure(f"a restore that has to fail at its end: {rc} {err}")
        if self.contents(t) != before:
            raise Failure(f"a failed restore left {self.contents(t)} of {before}")
        pidfile = os.path.join(self.top, "pidfile")
        for how, words in (("fail", "was told to fail in release"), ("kill", "the tree is taken back")):
            rc, _, err = self.crcore.run("restore", "-d", "-D", self.image, "--pidfile", pidfile,
                                         f"--plugins=+{self.failing}",
                                         env={"MISBEHAVE": f"{how}:release"})
            if rc != 1 or words not in err:
                raise Failure(f"a restore whose last but one hook has to {how}: {rc} {err}")
            if self.contents(t) != before or os.path.exists(pidfile):
                raise Failure(f"a restore that had to {how} in release left {self.contents(t)} of "
                              f"{before}, and a pid file: {os.path.exists(pidfile)}")
        rc, _, err = self.crcore.run("restore", "-d", "-D", self.image, "--pidfile", "/nowhere/pid")
        if rc != 1 or "folder that is there" not in err:
            raise Failure(f"a pid file in a folder that is not there: {rc} {err}")
        os.unlink(t.path("kept.dat"))
        self.crcore.restore_detached(self.image)
        now = self.contents(t)
        if now["cut.log"] != "0123456789\n" or now["kept.dat"] != "0123456789\n" or \
                now["grown.log"] != "0123456789\nmore\n" or [x for x in now if x.startswith(".")]:
            raise Failure(f"after the restore: {now}")
        os.mknod(t.path("go"))
        crtest.wait_gone(t.pid)
        want = "".join(f"{x} 23456789\n{'more' + chr(10) if x == 'grown.log' else ''}\n" for x in NAMES)
        if t.read("stdout") != want:
            raise Failure(f"the program saw {t.read('stdout')!r}, not {want!r}")

    def refused(self):
        t = self.target(HOLDER)
        self.crcore.dump(t.pid, self.image, *POLICY)
        t.killed()
        for change, words in ((("plain", "more"), "was 11"), (("cut.log", ""), "cut.log")):
            with open(t.path(change[0]), "w") as f:
                f.write(change[1])
            rc, _, err = self.crcore.run("restore", "-d", "-D", self.image)
            if rc != 1 or words not in err:
                raise Failure(f"{change}: {rc} {err}")
            os.utime(t.path(change[0]))
        rc, _, err = self.crcore.run("check", "-t", os.getpid(), "--set", "files.changed+=a=nonsense")
        if rc != 1 or "nonsense" not in err:
            raise Failure(f"nonsense in a policy: {rc} {err}")

    def external(self):
        r, w = os.pipe()
        os.set_inheritable(w, True)
        t = self.target(WRITER, env={**os.environ, "OUT": str(w)}, pass_fds=[w])
        name = f"pipe[{os.fstat(w).st_ino}]"
        rc, _, err = self.crcore.run("dump", "-t", t.pid, "-D", self.image)
        if rc != 1:
            raise Failure("an end of a pipe to outside is saved")
        self.crcore.dump(t.pid, self.image, "--external", name)
        t.killed()
        os.close(w)
        rc, _, err = self.crcore.run("restore", "-d", "-D", self.image)
        if rc != 1 or "--inherit-fd" not in err:
            raise Failure(f"restored without what was outside: {rc} {err}")
        r2, w2 = os.pipe()
        self.crcore.restore_detached(self.image, "--inherit-fd", f"fd[{w2}]:{name}", pass_fds=[w2])
        os.close(w2)
        os.mknod(t.path("go"))
        if os.read(r2, 100) != b"from inside":
            raise Failure("the new pipe got something else")
        crtest.wait_gone(t.pid)
        os.close(r2)
        os.close(r)

    def held_outside(self):
        path = os.path.join(self.top, "lock")
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_EX)
        t = self.target(WRITER, env={**os.environ, "OUT": "1"}, pass_fds=[fd])
        for args in (("check", "-t", t.pid), ("dump", "-t", t.pid, "-D", self.image)):
            rc, out, err = self.crcore.run(*args, log=False)
            if rc != 1 or f"together with process {os.getpid()}" not in out + err:
                raise Failure(f"{args}: {rc} {out}{err}")
        os.close(fd)
        self.crcore.dump(t.pid, self.image)
        t.killed()
        self.crcore.restore_detached(self.image)
        fd = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            raise Failure("the lock is gone")
        except BlockingIOError:
            pass
        os.mknod(t.path("go"))
        crtest.wait_gone(t.pid)


class Target(crtest.Target):
    def __init__(self, argv, folder, pass_fds=(), **kw):
        self.folder, self.status = folder, None
        with open(self.path("stdout"), "ab") as o, open(self.path("stderr"), "ab") as e:
            self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=o, stderr=e,
                                         start_new_session=True, pass_fds=pass_fds, **kw)
        self.pid = self.proc.pid


def main(crcore, failing):
    test = Test(crcore, failing)
    for step in (test.by_path, test.refused, test.external, test.held_outside):
        step()
        print(f"{step.__name__}: passed", flush=True)


jobs.run(main)
