# SPDX-License-Identifier: Apache-2.0
"""Ways to leave and to come back: the foreground ends as the root ends, and hands on signals, -d, -S, -s,
--pidfile, who is the parent, and what becomes of the tree when crcore is killed."""
import ctypes
import os
import pty
import signal
import subprocess
import sys
import jobs
import crtest
from crtest import Failure

BODY = """
import os, signal, sys, time
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.005)
how = open("go").read()
if how.startswith("signal"):
    os.kill(os.getpid(), int(how.split()[1]))
    time.sleep(10)
sys.exit(int(how or 0))
"""
SYS_RT_SIGTIMEDWAIT = 128
PR_SET_THP_DISABLE = 41
# Each of two processes notes the signals that it gets; SIGINT and SIGTERM end it.
NOTES = """
import os, signal, time
who = "child" if os.fork() == 0 else "root"
def note(signo, frame):
    open(f"{who}-{signo}", "w").close()
    if signo != signal.SIGHUP:
        os._exit(5)
for x in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(x, note)
open("ready", "w").close()
while True:
    time.sleep(1)
"""


class Test:
    def __init__(self, crcore_path):
        self.top = crtest.scratch()
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.count = 0

    def dumped(self, *extra, body=BODY):
        self.count += 1
        work = os.path.join(self.top, f"work-{self.count}")
        t = crtest.Target([jobs.python(), "-c", body], work, cwd=work)
        crtest.wait_for("the target", crtest.LIMIT, lambda: os.path.exists(t.path("ready")))
        self.image = os.path.join(self.top, f"image-{self.count}")
        self.crcore.dump(t.pid, self.image, *extra)
        return t

    def go(self, t, how="0"):
        with open(t.path("go.tmp"), "w") as f:
            f.write(how)
        os.rename(t.path("go.tmp"), t.path("go"))

    def ppid(self, pid):
        return int(crtest.snapshot.stat_fields(f"/proc/{pid}/stat")["ppid"])

    def foreground(self):
        for how, want in (("0", 0), ("7", 7), ("255", 255), ("signal 15", 128 + 15),
                          ("signal 9", 128 + 9)):
            t = self.dumped()
            t.killed()
            p = self.crcore.start("restore", "-D", self.image)
            crtest.wait_for("the root", 20, lambda: crtest.start_time(t.pid))
            self.go(t, how)
            rc, _, err = self.crcore.finish(p)
            if rc not in (want, want - 128 if want > 128 and how[0] == "s" else want):
                if not (how[0] == "s" and rc == -(want - 128)):
                    raise Failure(f"the root ended by {how}; restore ended with {rc}\n{err}")

    def waits(self, pid):
        """Until this restore does nothing any more but to wait for the root, and signals."""
        crtest.wait_for("the end of the restore", crtest.LIMIT, lambda: crtest.snapshot.read(
            f"/proc/{pid}/syscall").startswith(b"%d " % SYS_RT_SIGTIMEDWAIT))

    def noted(self, t, *names):
        crtest.wait_for(f"{names}", crtest.LIMIT, lambda: all(map(os.path.exists, map(t.path, names))))

    def signals(self):
        """What a process sends to a restore that waits is for the root."""
        t = self.dumped(body=NOTES)
        t.killed()
        p = self.crcore.start("restore", "-D", self.image)
        self.waits(p.pid)
        p.send_signal(signal.SIGHUP)
        self.noted(t, "root-1")
        p.send_signal(signal.SIGTERM)
        rc, _, err = self.crcore.finish(p)
        if rc != 5:
            raise Failure(f"the root ended with 5; restore ended with {rc}\n{err}")
        if os.path.exists(t.path("child-15")) or os.path.exists(t.path("child-1")):
            raise Failure("a signal for the root went to another task, too")
        os.killpg(t.pid, signal.SIGKILL)

    def ignored(self):
        """As nohup does it: the restore is not to hear of it, and so neither is the root, who
        ignores what it has ignored before, no less and no more."""
        def ignore():
            for x in (signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1):
                signal.signal(x, signal.SIG_IGN)

        t = self.dumped(body=NOTES)
        t.killed()
        p = self.crcore.start("restore", "-D", self.image, preexec_fn=ignore, restore_signals=False)
        p.send_signal(signal.SIGHUP)  # while it works, which goes on
        self.waits(p.pid)
        with open(f"/proc/{t.pid}/status") as f:
            mask = next(int(x.split()[1], 16) for x in f if x.startswith("SigIgn"))
        # Python ignores SIGPIPE and SIGXFSZ.
        if mask & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1):
            raise Failure(f"the root ignores what the restore ignored: {mask:#x}")
        p.send_signal(signal.SIGHUP)
        p.send_signal(signal.SIGTERM)
        rc, _, err = self.crcore.finish(p)
        if rc != 5:
            raise Failure(f"the root ended with 5; restore ended with {rc}\n{err}")
        if os.path.exists(t.path("root-1")):
            raise Failure("a signal that the restore ignores went to the root")
        os.killpg(t.pid, signal.SIGKILL)

    def attributes(self):
        """What the restore has of whoever began it is not handed down to the tree."""
        def differ():
            with open("/proc/self/coredump_filter", "w") as f:
                f.write("0x11")
            ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)

        def look(pid):
            with open(f"/proc/{pid}/coredump_filter") as f:
                dumped = f.read()
            with open(f"/proc/{pid}/status") as f:
                return dumped, [x for x in f if x.startswith(("THP_enabled", "SigBlk"))]

        t = self.dumped()
        was = look(os.getpid())
        t.killed()
        self.crcore.restore_detached(self.image, preexec_fn=differ)
        if look(t.pid) != was:
            raise Failure(f"the root has the attributes {look(t.pid)}, not {was}")
        self.go(t)
        crtest.wait_gone(t.pid)

    def keys(self):
        """The interrupt key is for its group, which has a session of its own."""
        t = self.dumped(body=NOTES)
        t.killed()
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(self.crcore.path, [self.crcore.path, "restore", "-D", self.image])
        self.waits(pid)
        os.write(terminal, b"\x03")
        self.noted(t, "root-2", "child-2")
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(terminal)
        if status != 5:
            raise Failure(f"the root ended with 5; restore ended with {status}")

    def sibling(self):
        t = self.dumped()
        t.killed()
        pidfile = os.path.join(self.top, "sibling.pid")
        self.crcore.restore(self.image, "-d", "-S", "--pidfile", pidfile, stdout=subprocess.DEVNULL)
        with open(pidfile) as f:
            if f.read().strip() != str(t.pid):
                raise Failure("the pid file is wrong")
        if self.ppid(t.pid) != os.getpid():
            raise Failure(f"the parent is {self.ppid(t.pid)}, not {os.getpid()}")
        self.go(t, "5")
        _, status = os.waitpid(t.pid, 0)
        if os.waitstatus_to_exitcode(status) != 5:
            raise Failure(f"a sibling ended with {status:#x}")

    def left_stopped(self):
        t = self.dumped("-s")
        crtest.wait_for("the tree to be stopped", 5,
                        lambda: crtest.snapshot.stat_fields(f"/proc/{t.pid}/stat")["state"] == "T")
        os.kill(t.pid, signal.SIGCONT)
        self.go(t)
        if t.wait():
            raise Failure("a tree that was left stopped did not go on")

    def restored_stopped(self):
        t = self.dumped()
        t.killed()
        self.crcore.restore_detached(self.image, "-s")
        state = crtest.snapshot.stat_fields(f"/proc/{t.pid}/stat")["state"]
        if state != "T":
            raise Failure(f"restore -s left the tree in state {state}")
        self.go(t)
        os.kill(t.pid, signal.SIGCONT)
        crtest.wait_gone(t.pid)

    def killed_restore(self):
        """kill -9 of crcore while it restores or waits: no half of a tree is left."""
        for delay in (0.001, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12):
            t = self.dumped()
            t.killed()
            before = set(crtest.pids())
            p = self.crcore.start("restore", "-d", "-D", self.image)
            try:
                p.wait(timeout=delay)
            except subprocess.TimeoutExpired:
                p.kill()
            self.crcore.finish(p)
            crtest.wait_for("crcore to be gone", 20, lambda: not crtest.running(self.crcore.path))
            crtest.wait_for("all but the root to be gone", 5,
                            lambda: not set(crtest.pids()) - before - {t.pid})
            left = set(crtest.pids()) - before
            if left - {t.pid}:
                raise Failure(f"processes are left after {delay} s: {left}")
            if not left:
                self.crcore.restore_detached(self.image)
            self.go(t)
            crtest.wait_gone(t.pid)

    def run(self):
        for step in (self.foreground, self.signals, self.ignored, self.attributes, self.keys,
                     self.sibling, self.left_stopped, self.restored_stopped, self.killed_restore):
            step()
            print(f"{step.__name__}: passed", flush=True)


jobs.run(lambda crcore: Test(crcore).run())
