# SPDX-License-Identifier: Apache-2.0
"""Helpers of all tests that run crcore: nothing here waits without a limit,
and nothing here ends a process that it did not start."""
import os
import shutil
import signal
import subprocess
import sys
import time

import snapshot  # noqa: F401 - tests reach it through here

LIMIT = float(os.environ.get("CRCORE_TEST_LIMIT", "60"))

# For tests that kill children of crcore: a sanitizer's search for leaks is one too,
# and its parent would wait for it forever.
NO_LEAK_SEARCH = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}


class Failure(Exception):
    pass


class Skip(Exception):
    pass


def scratch():
    """The test's own folder; isolate makes and removes it."""
    path = os.environ.get("CRCORE_TEST_DIR")
    if not path:
        raise Failure("run this test through tests/lib/isolate")
    return path


def isolate(build, seconds):
    """Runs this script again in namespaces of its own, unless it is there already."""
    path = os.path.join(build, "tests", "lib", "isolate")
    if "CRCORE_TEST_DIR" in os.environ:
        return
    if not os.access(path, os.X_OK):
        sys.exit(f"Error: {build}: no build with tests in this folder; make one (meson setup "
                 f"-Dtests=true {build} && ninja -C {build}), or name another with --build DIR")
    os.execv(path, [path, "-t", str(seconds), "--", sys.executable, "-B",
                    os.path.abspath(sys.argv[0]), *sys.argv[1:]])


def wait_for(what, seconds, test):
    """Polls test() until it is true; returns what it gave."""
    end = time.monotonic() + seconds
    pause = 0.001
    while True:
        ret = test()
        if ret:
            return ret
        if time.monotonic() > end:
            raise Failure(f"waited {seconds:g} s for {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def page_files(image):
    """The files of an image that hold memory, in their order."""
    names = [x for x in os.listdir(image) if x.startswith("pages-") and x.endswith(".bin")]
    return [os.path.join(image, x) for x in sorted(names, key=lambda x: int(x[6:-4]))]


def children(pid):
    """Of a process that may be gone by now."""
    try:
        return snapshot.children(pid)
    except OSError:
        return []


def start_time(pid):
    """Start time of a process, 0 if it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            tail = f.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if tail[0] in (b"Z", b"X") else int(tail[19])


def wait_gone(pid, seconds=LIMIT):
    wait_for(f"the end of process {pid}", seconds, lambda: not start_time(pid))


# Refuses one system call, bpf(2), then becomes another program.
REFUSES = """
import ctypes, os, struct, sys
BPF, EPERM = 321, 1
code = b"".join(struct.pack("HBBI", *x) for x in [
    (0x20, 0, 0, 0), (0x15, 0, 1, BPF), (0x06, 0, 0, 0x00050000 | EPERM), (0x06, 0, 0, 0x7fff0000)])
buf = ctypes.create_string_buffer(code, len(code))
prog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buf)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(22, 2, prog, 0, 0):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""
WITHOUT_PROGRAMS = sys.executable, "-c", REFUSES  # Crcore(through=): it loads none into the kernel


class Crcore:
    """Runs one crcore executable, by the command `through` if there is one. The log of each
    run lies beside its image."""

    def __init__(self, path, folder, through=()):
        self.path = path
        self.through = through
        self.folder = folder
        self.count = 0

    def start(self, *args, env=None, log=True, **kw):
        self.count += 1
        self.log = os.path.join(self.folder, f"log-{self.count}")
        argv = [*map(str, args)]
        if log:
            argv[1:1] = ["-v3", "-o", self.log]
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen([*self.through, self.path, *argv], text=True, errors="replace",
                                env={**os.environ, **(env or {})}, **kw)

    def finish(self, p, limit=LIMIT):
        """Waits for a run that start() gave: status, standard output, standard error."""
        try:
            out, err = p.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            describe_tasks()  # while it is still there
            p.kill()
            out, err = p.communicate(timeout=10)
            raise Failure(f"{' '.join(p.args)}: still running after {limit:g} s\n{err}"
                          f"{self.tail()}") from None
        return p.returncode, out, err

    def run(self, *args, limit=LIMIT, **kw):
        return self.finish(self.start(*args, **kw), limit)

    def must(self, *args, **kw):
        """The same, but it has to succeed."""
        rc, out, err = self.run(*args, **kw)
        if rc:
            raise Failure(f"crcore {' '.join(map(str, args))}: status {rc}\n{err}{self.tail()}")
        return out

    def tail(self, lines=25):
        try:
            with open(self.log, errors="replace") as f:
                return "".join(f"  | {x}" for x in f.readlines()[-lines:])
        except OSError:
            return ""

    def dump(self, pid, images, *args, **kw):
        return self.must("dump", "-t", pid, "-D", images, *args, **kw)

    def restore(self, images, *args, **kw):
        return self.must("restore", "-D", images, *args, **kw)

    def restore_detached(self, images, *args, **kw):
        """Restores in the background; returns the pid of the root."""
        pidfile = os.path.join(self.folder, f"pidfile-{self.count}")
        self.restore(images, "-d", "--pidfile", pidfile, *args, stdout=subprocess.DEVNULL, **kw)
        with open(pidfile) as f:
            return int(f.read())


class Patient(Crcore):
    """Dumps again if it is refused for something that passes: `words` of the refusal."""

    def __init__(self, path, folder, words):
        super().__init__(path, folder)
        self.words = words

    def dump(self, pid, images, *args, **kw):
        for _ in range(50):
            rc, out, err = self.run("dump", "-t", pid, "-D", images, *args, **kw)
            if not rc:
                return out
            if self.words not in err:
                break
            time.sleep(0.02)
        raise Failure(f"crcore dump: status {rc}\n{err}{self.tail()}")


class Target:
    """A program that is checkpointed: a session of its own, no descriptors but
    /dev/null, and regular files for its output."""

    def __init__(self, argv, folder, env=None, cwd=None, stdout=None):
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o777)
        self.folder = folder
        out = stdout or os.path.join(folder, "stdout")
        with open(out, "ab") as o, open(os.path.join(folder, "stderr"), "ab") as e:
            self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=o, stderr=e,
                                         start_new_session=True, env=env, cwd=cwd)
        self.pid = self.proc.pid
        self.status = None

    def path(self, name):
        return os.path.join(self.folder, name)

    def ready(self):
        """Waits until it has written its file `ready`, or has ended."""
        wait_for("the target", LIMIT,
                 lambda: self.read("ready") or self.proc.poll() is not None)
        return self

    def read(self, name):
        try:
            with open(self.path(name), errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def killed(self):
        """A dump has ended it: reaps it, so that its pid is free."""
        try:
            status = self.proc.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise Failure(f"process {self.pid} still lives after the dump") from None
        if status != -signal.SIGKILL:
            raise Failure(f"process {self.pid} ended with {status} instead of SIGKILL\n"
                          f"{self.read('stderr')}")

    def wait(self, limit=LIMIT):
        """The end of a process that is our child."""
        try:
            return self.proc.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            raise Failure(f"process {self.pid} has not ended in {limit:g} s") from None


def pids():
    """All processes of the test's pid namespace that are not dead."""
    return [int(x) for x in os.listdir("/proc") if x.isdigit() and start_time(int(x))]


def loading(pid):
    """Is memory of that process loaded on demand, and not all there yet?"""
    try:
        with open(f"/proc/{pid}/smaps") as f:
            return any(x.startswith("VmFlags:") and " um" in x for x in f)
    except OSError:
        return False


def running(path):
    """Processes that run this executable."""
    ret = []
    for pid in pids():
        try:
            if os.path.samefile(f"/proc/{pid}/exe", path):
                ret.append(pid)
        except OSError:
            pass
    return ret


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    except OSError:
        return ""


def kill_some(run, turn):
    """kill -9 of the crcore that was started, of its worker, or of both, in turn."""
    workers = [pid for pid in snapshot.tree(run.pid)[1:] if comm(pid) == "cr-worker"]
    for pid in [[run.pid], workers, [run.pid, *workers]][turn % 3] or [run.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def end_all():
    """After a failure: ends everything else in the test's own pid namespace."""
    with open("/proc/1/comm") as f:
        if f.read().strip() == "isolate-init":
            try:
                os.kill(-1, signal.SIGKILL)
            except ProcessLookupError:
                pass


def mounts():
    with open("/proc/self/mountinfo") as f:
        return sorted(f.read().splitlines())


def describe_tasks():
    """What every task of the test's namespace waits in: for those who have to find out."""
    for pid in pids():
        try:
            tids = sorted(os.listdir(f"/proc/{pid}/task"), key=int)
        except OSError:
            continue
        for tid in tids:
            base = f"/proc/{pid}/task/{tid}"
            stat = snapshot.stat_fields(f"{base}/stat")
            call = snapshot.read(f"{base}/syscall").decode(errors="replace").split()
            print(f"  task {tid} of {pid}, parent {stat.get('ppid')}: {stat.get('comm')}: state "
                  f"{stat.get('state')}, in {snapshot.read(f'{base}/wchan').decode()}, "
                  f"call {' '.join(call[:4])}")


def main(fn):
    """Runs fn(); turns its failure into a message and an exit status."""
    try:
        fn()
    except Skip as e:
        print(f"skipped: {e}")
        sys.exit(77)
    except Failure as e:
        print(f"FAILED: {e}")
        try:
            describe_tasks()
            end_all()
        except OSError:
            pass
        sys.exit(1)


def need(program):
    if not shutil.which(program):
        raise Skip(f"{program} is not installed")
