# SPDX-License-Identifier: Apache-2.0
"""What cannot be done is refused early, by name, with one line and no damage: objects
that nobody claims, a folder that is taken, a process that is traced, a pid that is held,
files that changed or vanished."""
import ctypes
import fcntl
import json
import os
import pty
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import jobs
import crtest
import snapshot
from crtest import Failure

HOLDER = """
import os, select, socket, sys, time
a = select.epoll()
b = socket.socket(socket.AF_PACKET, socket.SOCK_RAW) if sys.argv[1] == "packet" else None
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
"""

DIRECT = """
import os, time
fd = os.open("data", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
memory = bytearray(os.urandom(1 << 20) * 24)
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
"""

LOCKED = """
import fcntl, os, time
a, b = os.pipe()
fcntl.flock(b, fcntl.LOCK_EX)
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
"""

# The code does not tell which call it makes.
SLEEPER = """
import ctypes
libc = ctypes.CDLL(None)
open("ready", "w").close()
while True:
    libc.syscall(7, None, 0, 100000)
"""

CONSOLE = """
import os, time
fd = os.open("console", os.O_RDWR | os.O_NOCTTY)
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
"""

# Things of a thread or process that are not saved: argv[1] says which.
MODE = """
import ctypes, os, struct, sys, threading, time
libc = ctypes.CDLL(None)
selector = ctypes.c_char()
def confine(): # Landlock: it may make no device nodes
    global r
    fd = libc.syscall(444, struct.pack("Q", 1 << 11), 8, 0)
    r = -1 if fd < 0 or libc.prctl(38, 1, 0, 0, 0) or libc.syscall(446, fd, 0) else os.close(fd) or 0
def confined_thread():
    confine()
    time.sleep(1000)
r = None
if sys.argv[1] == "dispatch": # PR_SET_SYSCALL_USER_DISPATCH, with all of it allowed
    r = libc.prctl(59, 1, 0, ctypes.c_ulong(0x1000), ctypes.byref(selector))
elif sys.argv[1] in ("pid", "time"): # namespaces of its children
    r = libc.unshare({"pid": 0x20000000, "time": 0x80}[sys.argv[1]])
elif sys.argv[1] == "secret": # memfd_secret(2)
    fd = libc.syscall(447, 0)
    libc.mmap.restype = ctypes.c_void_p
    r = -1 if fd < 0 or libc.ftruncate(fd, 4096) else 0
    if r == 0:
        libc.mmap(None, ctypes.c_size_t(4096), 3, 1, fd, ctypes.c_long(0))
        os.close(fd)
elif sys.argv[1] in ("landlock", "landlock-user"):
    if sys.argv[1] == "landlock-user":
        os.chmod(".", 0o777)
        os.setgroups([])
        os.setresgid(4242, 4243, 4243)
        os.setresuid(4242, 4243, 4243)
    confine()
elif sys.argv[1] == "landlock-thread":
    threading.Thread(target=confined_thread, daemon=True).start()
    while r is None:
        time.sleep(0.01)
else: # modify_ldt(2): one segment
    r = libc.syscall(154, 1, struct.pack("4I", 1, 0x1000, 0xfff, 0x41), 16)
open("ready" if r == 0 else "lacking", "w").close()
while r == 0 and not os.path.exists("go"):
    time.sleep(0.01)
"""

LEADER = """
import os, sys, time
os.close(os.open(sys.argv[1], os.O_RDWR))
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
"""
POLL, RESTART = 7, 219  # system calls
VT_OPENQRY, KDSETMODE, KD_TEXT, KD_GRAPHICS = 0x5600, 0x4B3A, 0, 1


class Test:
    def __init__(self, crcore_path, program, kill_at):
        self.top = crtest.scratch()
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.program, self.kill_at, self.count = program, kill_at, 0

    def target(self, argv=None):
        self.count += 1
        work = os.path.join(self.top, f"work-{self.count}")
        t = crtest.Target([*(argv or [self.program, work])], work, cwd=None if not argv else work)
        crtest.wait_for("the target", crtest.LIMIT,
                        lambda: os.path.exists(t.path("ready")) or t.proc.poll() is not None)
        return t

    def end(self, t):
        open(t.path("go"), "w").close()
        status = t.wait()
        if status or (t.read("result").strip() or "pass") != "pass":
            raise Failure(f"the target was harmed: {status}, {t.read('result')}{t.read('stderr')}")

    def unchanged(self, t, before):
        lines = snapshot.diff(before, snapshot.take(t.pid))
        if lines:
            raise Failure("the tree was changed:\n" + "\n".join(lines))

    def error(self, words, *args, status=1, **kw):
        rc, out, err = self.crcore.run(*args, log=False, **kw)
        lines = [x for x in err.splitlines() if x.startswith("Error")]
        if rc != status or len(lines) != 1:
            raise Failure(f"crcore {' '.join(map(str, args))}: status {rc} instead of {status}, "
                          f"not one line of error but:\n{out}{err}")
        for word in words:
            if str(word) not in lines[0]:
                raise Failure(f"crcore {' '.join(map(str, args))}: {word!r} is not in: {lines[0]}")
        print(lines[0])
        return out

    def image(self):
        return os.path.join(self.top, f"image-{self.count}")

    def usage(self):
        self.error(["-t"], "dump", status=2)
        self.error(["dmup", "dump"], "dmup", status=2)
        self.error(["--leave-runing", "leave-running"], "dump", "-t", 1, "--leave-runing", status=2)
        self.error([99999], "dump", "-t", 99999, "-D", self.image())
        self.error(["crcore itself"], "dump", "-t", os.getpid(), "-D", self.image())

    def unclaimed(self):
        """An object that no plugin of the policy handles: dump and check name it."""
        t = self.target([jobs.python(), "-c", HOLDER, "packet"])
        before = snapshot.settled(t.pid)
        self.error([t.pid, "fd 3", "eventpoll"], "dump", "-t", t.pid, "-D", self.image(), "--plugins=files")
        if os.path.exists(self.image()):
            raise Failure("a refused dump left its image")
        rc, out, err = self.crcore.run("check", "-t", t.pid, "--plugins=files", log=False)
        for word in (str(t.pid), "eventpoll", "socket"):
            if word not in out + err:
                raise Failure(f"check -t does not name {word}:\n{out}{err}")
        if rc != 1:
            raise Failure(f"check -t of a tree that cannot be saved: status {rc}")
        rc, out, err = self.crcore.run("check", "-t", t.pid, "--plugins=files", "--json", log=False)
        json.loads(out)
        self.unchanged(t, before)
        self.end(t)

    def locked_pipe(self):
        """A dump sees it when the tree stands still, a check while it runs."""
        t = self.target([jobs.python(), "-c", LOCKED])
        before = snapshot.settled(t.pid)
        self.error([t.pid, "pipe:", "lock"], "dump", "-t", t.pid, "-D", self.image())
        rc, out, err = self.crcore.run("check", "-t", t.pid, log=False)
        if rc != 1 or "there is a lock on it" not in out:
            raise Failure(f"check of a locked pipe: {rc}\n{out}{err}")
        self.unchanged(t, before)
        self.end(t)

    def console(self):
        """One that a program draws on is refused, as is a restore where the device is missing."""
        try:
            with open("/dev/tty0", "rb+", buffering=0) as f:
                number = struct.unpack("i", fcntl.ioctl(f, VT_OPENQRY, bytes(4)))[0]
        except OSError as e:
            print(f"console: no virtual consoles: {e.strerror}")
            return
        node, device = os.path.join(self.top, "console"), os.makedev(4, number)
        os.mknod(node, 0o600 | stat.S_IFCHR, device)
        self.count += 1
        work = os.path.join(self.top, f"work-{self.count}")
        os.mkdir(work)
        os.symlink(node, os.path.join(work, "console"))
        t = crtest.Target([jobs.python(), "-c", CONSOLE], work, cwd=work)
        crtest.wait_for("the target", crtest.LIMIT, lambda: os.path.exists(t.path("ready")))
        with open(node, "rb+", buffering=0) as f:
            fcntl.ioctl(f, KDSETMODE, KD_GRAPHICS)
            self.error([t.pid, node, "draws"], "dump", "-t", t.pid, "-D", self.image())
            fcntl.ioctl(f, KDSETMODE, KD_TEXT)
        self.crcore.dump(t.pid, self.image())
        t.killed()
        os.unlink(node)
        self.error([node, f"4:{number}"], "restore", "-d", "-D", self.image())
        os.mknod(node, 0o600 | stat.S_IFCHR, device)
        pid = self.crcore.restore_detached(self.image())
        if os.stat(f"/proc/{pid}/fd/3").st_rdev != device:
            raise Failure("the console is another one")
        open(t.path("go"), "w").close()
        crtest.wait_gone(pid)

    def session_terminal(self):
        """The terminal of a session, of which the tree has no descriptor: it is not forgotten."""
        ends = pty.openpty()
        t = self.target([jobs.python(), "-c", LEADER, os.ttyname(ends[1])])
        with open(f"/proc/{t.pid}/stat") as f:
            if f.read().rsplit(")", 1)[1].split()[4] == "0":
                raise Failure("the session of the target has no terminal")
        self.error([t.pid, "controlling terminal", "outside the tree"], "dump", "-t", t.pid, "-D",
                   self.image(), "-R")
        self.crcore.dump(t.pid, self.image(), "-R", "--set", "ttys.external=inherit")
        self.end(t)
        for end in ends:
            os.close(end)

    def taken_folder(self):
        t = self.target()
        os.mkdir(self.image())
        with open(os.path.join(self.image(), "precious"), "w") as f:
            f.write("mine")
        self.error(["precious"], "dump", "-t", t.pid, "-D", self.image())
        os.unlink(os.path.join(self.image(), "precious"))
        self.crcore.dump(t.pid, self.image(), "-R")
        self.error([], "dump", "-t", t.pid, "-D", self.image())
        self.error(["missing"], "dump", "-t", t.pid, "-D", os.path.join(self.top, "missing", "deep"))
        self.end(t)

    def traced(self):
        t = self.target()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(0x4206, t.pid, 0, 0):  # PTRACE_SEIZE
            raise Failure(os.strerror(ctypes.get_errno()))
        self.error([t.pid], "dump", "-t", t.pid, "-D", self.image())
        libc.ptrace(0x4207, t.pid, 0, 0)  # PTRACE_INTERRUPT
        os.waitpid(t.pid, 0x40000000)
        libc.ptrace(17, t.pid, 0, 0)  # PTRACE_DETACH
        self.end(t)

    def tracer_in_tree(self):
        """A task that another one of the tree traces: who traces it is said, and nothing happens."""
        if not shutil.which("strace"):
            print("tracer_in_tree: no strace here")
            return
        self.count += 1
        work = os.path.join(self.top, f"work-{self.count}")
        t = crtest.Target(["strace", "-f", "-o", "/dev/null", self.program, work], work)
        crtest.wait_for("the target", crtest.LIMIT, lambda: os.path.exists(t.path("ready")))
        child = snapshot.children(t.pid)[0]
        self.error([child, f"traced by process {t.pid}", "strace"], "dump", "-t", t.pid, "-D", self.image())
        rc, out, err = self.crcore.run("check", "-t", t.pid, log=False)
        if rc != 1 or f"pid {child}" not in out or f"traced by process {t.pid}" not in out:
            raise Failure(f"check of a traced tree: {rc}\n{out}{err}")
        self.end(t)

    def held_pid(self):
        """The tree still runs: its pids are held, nothing is made; nor by a second restore."""
        t = self.target()
        self.crcore.dump(t.pid, self.image(), "-R")
        self.error([t.pid], "restore", "-d", "-D", self.image())
        self.error([t.pid], "restore", "-D", self.image())
        if t.proc.poll() is not None:
            raise Failure("the holder of the pid was harmed")
        self.end(t)

    def zombie_pid(self):
        """A pid that a zombie holds is waited for, as long as the policy says."""
        t = self.target()
        self.crcore.dump(t.pid, self.image())
        crtest.wait_gone(t.pid)
        self.error([t.pid], "restore", "-d", "-D", self.image(), "--set", "restore.pid-wait=200ms")
        p = self.crcore.start("restore", "-d", "-D", self.image(), stdout=subprocess.DEVNULL)
        t.killed()
        rc, _, err = self.crcore.finish(p)
        if rc:
            raise Failure(f"the zombie was reaped, but: {err}")
        open(t.path("go"), "w").close()
        crtest.wait_gone(t.pid)

    def zombie_group(self):
        """A number that only zombies hold, as their group: nobody reaps them, for a while."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(36, 1):  # PR_SET_CHILD_SUBREAPER
            raise Failure(os.strerror(ctypes.get_errno()))
        t = self.target(["/bin/sh", "-c", "sleep 1000 & >ready; wait"])
        self.crcore.dump(t.pid, self.image())
        t.killed()
        self.error([t.pid, "process group", "does not reap"], "restore", "-d", "-D", self.image(),
                   "--set", "restore.pid-wait=200ms")
        libc.prctl(36, 0)
        os.waitpid(-t.pid, 0)

    def changed_file(self):
        """A file that is open and that changed or vanished since the dump."""
        for change, words in ((self.grow, "stdout"), (self.vanish, "stdout")):
            t = self.target()
            self.crcore.dump(t.pid, self.image())
            t.killed()
            undo = change(t.path("stdout"))
            self.error([words], "restore", "-d", "-D", self.image())
            undo()
            self.crcore.restore_detached(self.image())
            open(t.path("go"), "w").close()
            crtest.wait_gone(t.pid)

    def direct(self):
        """Memory that a device may write to is not copied ahead, whatever the size."""
        t = self.target([sys.executable, "-c", DIRECT])
        self.error([t.pid, "data", "O_DIRECT"], "dump", "-t", t.pid, "-D", self.image(), "--precopy")
        image = self.image()
        self.crcore.dump(t.pid, image, "-R")
        with open(self.crcore.log) as f:
            if "nothing is copied ahead" not in f.read():
                raise Failure("memory was copied ahead beside direct reads")
        self.end(t)

    def no_room(self):
        """A task that may map nothing more cannot be asked anything: it is left as it is."""
        t = self.target()
        before = snapshot.settled(t.pid)
        limits = resource.prlimit(t.pid, resource.RLIMIT_AS)
        resource.prlimit(t.pid, resource.RLIMIT_AS, (1 << 20, limits[1]))
        self.error([t.pid, "address space"], "dump", "-t", t.pid, "-D", self.image())
        resource.prlimit(t.pid, resource.RLIMIT_AS, limits)
        self.unchanged(t, before)
        self.end(t)

    def few_descriptors(self):
        """crcore itself has too few: what to do about it is said."""
        t = self.target()
        before = snapshot.settled(t.pid)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        for few in range(6, 13):
            self.error(["ulimit -n"], "dump", "-t", t.pid, "-D", self.image(), preexec_fn=lambda:
                       resource.setrlimit(resource.RLIMIT_NOFILE, (few, few)))
        self.crcore.dump(t.pid, self.image(), "-R", preexec_fn=lambda: # the hard limit counts
                         resource.setrlimit(resource.RLIMIT_NOFILE, (9, most)))
        self.unchanged(t, before)
        self.end(t)

    def lower_limit(self):
        """A limit that crcore could not give the task: which one, and what to do, is said."""
        t = self.target()
        image = self.image()
        self.crcore.dump(t.pid, image)
        t.killed()
        self.crcore.through = ["setpriv", "--bounding-set=-sys_resource"]
        self.error([t.pid, "Max open files (", "crcore's own (1000)", "ulimit -H"], "restore", "-d",
                   "-D", image, preexec_fn=lambda:
                   resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000)))
        self.crcore.through = ()
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        self.error(["ulimit -f"], "restore", "-d", "-D", image, preexec_fn=lambda:
                   resource.setrlimit(resource.RLIMIT_FSIZE, (4096, most)))

    def queues(self):
        """Message queues of the tree's namespace cannot be listed by everybody."""
        t = self.target()
        before = snapshot.settled(t.pid)
        self.crcore.through = ["setpriv", "--bounding-set=-sys_admin"]
        self.error(["message queues", "CAP_SYS_ADMIN"], "dump", "-t", t.pid, "-D", self.image(), "-R")
        self.crcore.through = ()
        self.unchanged(t, before)
        self.end(t)

    def mode(self):
        """What a thread or process has asked of the kernel and what no image can hold."""
        for mode, words in (("dispatch", "PR_SET_SYSCALL_USER_DISPATCH"), ("segments", "modify_ldt"),
                            ("secret", "memfd_secret"), ("pid", "pid namespace"),
                            ("time", "time namespace"), ("landlock", "Landlock"),
                            ("landlock-user", "Landlock"), ("landlock-thread", "Landlock")):
            t = self.target([sys.executable, "-c", MODE, mode])
            if os.path.exists(t.path("lacking")):
                print(f"this kernel has no {words}", flush=True)
                continue
            before = snapshot.settled(t.pid)
            self.error([t.pid, words], "dump", "-t", t.pid, "-D", self.image())
            self.unchanged(t, before)
            self.end(t)

    def await_call(self, t, state, call):
        def there():
            with open(f"/proc/{t.pid}/syscall") as f:
                return f.read().split()[0] == str(call) and \
                    snapshot.stat_fields(f"/proc/{t.pid}/stat")["state"] == state
        crtest.wait_for(f"state {state} in system call {call}", crtest.LIMIT, there)

    def stopped_sleeper(self):
        t = self.target([sys.executable, "-c", SLEEPER])
        self.await_call(t, "S", POLL)
        for signo, state, call in ((signal.SIGSTOP, "T", POLL), (signal.SIGCONT, "S", RESTART),
                                   (signal.SIGSTOP, "T", RESTART)):
            os.kill(t.pid, signo)
            self.await_call(t, state, call)
        return t

    def signal_comes(self):
        """The same if it comes in the very moment in which crcore looks where the process sleeps."""
        for n in (1, 2):
            t = self.stopped_sleeper()
            env = {"LD_PRELOAD": os.path.abspath(self.kill_at), "CRCORE_TERM_AT": str(n),
                   **(crtest.NO_LEAK_SEARCH or {})}
            rc, _, err = self.crcore.run("dump", "-t", t.pid, "-D", self.image(), "-R", log=False, env=env)
            if rc and "SIGCONT" not in err:
                raise Failure(f"dump: status {rc}\n{err}")
            self.await_call(t, "T", RESTART)
            if not int(snapshot.status_fields(f"/proc/{t.pid}/status")["ShdPnd"], 16):
                raise Failure("no signal was sent")
            os.kill(t.pid, signal.SIGCONT)
            if t.wait() != -signal.SIGTERM:
                raise Failure("the signal that came is lost")

    def killed_then(self):
        """The same if crcore is killed in that moment: nothing but that signal remains blocked."""
        t = self.stopped_sleeper()
        env = {"LD_PRELOAD": os.path.abspath(self.kill_at), "CRCORE_TERM_AT": "2", "CRCORE_KILL_CONT": "1",
               **(crtest.NO_LEAK_SEARCH or {})}
        self.crcore.run("dump", "-t", t.pid, "-D", self.image(), "-R", log=False, env=env)
        self.await_call(t, "T", RESTART)
        status = snapshot.status_fields(f"/proc/{t.pid}/status")
        due = 1 << signal.SIGTERM - 1
        if int(status["ShdPnd"], 16) | int(status["SigPnd"], 16) != due or int(status["SigBlk"], 16) & ~due:
            raise Failure(f"pending {status['ShdPnd']} {status['SigPnd']}, blocked {status['SigBlk']}")
        os.kill(t.pid, signal.SIGKILL)
        t.killed()

    def due_signal(self):
        """A signal that waits until a stopped process goes on is not delivered before."""
        t = self.stopped_sleeper()
        os.kill(t.pid, signal.SIGTERM)
        before = snapshot.settled(t.pid)
        self.error([t.pid, "SIGCONT"], "dump", "-t", t.pid, "-D", self.image(), "-R")
        self.unchanged(t, before)
        os.kill(t.pid, signal.SIGCONT)
        if t.wait() != -signal.SIGTERM:
            raise Failure("the signal that waited is lost")

    def grow(self, path):
        st = os.stat(path)
        with open(path, "a") as f:
            f.write("more")

        def undo():
            os.truncate(path, st.st_size)
            os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
        return undo

    def vanish(self, path):
        os.rename(path, path + ".away")
        return lambda: os.rename(path + ".away", path)

    def run(self):
        for step in (self.usage, self.unclaimed, self.locked_pipe, self.console, self.session_terminal,
                     self.taken_folder, self.traced, self.tracer_in_tree, self.direct, self.no_room, self.few_descriptors,
                     self.lower_limit, self.queues, self.mode, self.due_signal, self.signal_comes, self.killed_then,
                     self.held_pid, self.zombie_pid, self.zombie_group, self.changed_file):
            step()
            print(f"{step.__name__}: passed", flush=True)


jobs.run(lambda *args: Test(*args).run())
