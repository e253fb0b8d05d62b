# SPDX-License-Identifier: Apache-2.0
"""AIO contexts under load: fio with the kernel's asynchronous requests and with reaping of
its own, past the page cache, verifies what it wrote over several checkpoints, dumps that leave
it running and dumps that are killed; requests of a slow disk are waited for; what never ends,
or cannot be seen, is refused by name."""
import os
import shutil
import time
import jobs
import crtest
import fio
import groups
from crtest import Failure

# Reads a file past the cache with requests that are in flight when it is ready, or polls.
HOLDER = """
import ctypes, mmap, os, select, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
PAGE, N = 4096, 32
def call(*args):
    r = libc.syscall(*args)
    if r < 0:
        sys.exit(f"{args}: {os.strerror(ctypes.get_errno())}")
    return r
ctx = ctypes.c_ulong(0)
call(206, N, ctypes.byref(ctx))
def submit(data, op, fd, buf=0, size=0, at=0):
    cb = ctypes.create_string_buffer(struct.pack("QIiHhIQQqQII", data, 0, 0, op, 0, fd, buf, size,
                                                 at, 0, 0, 0), 64)
    call(209, ctx, 1, ctypes.byref(ctypes.c_void_p(ctypes.addressof(cb))))
    return cb
def take(n):
    events = (ctypes.c_ulong * (4 * n))()
    got = 0
    while got < n:
        r = libc.syscall(208, ctx, n - got, n - got, ctypes.byref(events, 32 * got), None)
        got += max(r, 0)
    return [(events[4 * i], ctypes.c_long(events[4 * i + 2]).value) for i in range(n)]
if sys.argv[1] == "poll":
    pipe = os.pipe()
    cb = submit(1, 5, pipe[0], select.POLLIN)
else:
    with open("/sys/fs/cgroup/blkio/" + sys.argv[2] + "/tasks", "w") as f:
        f.write("0")
    fd = os.open("data", os.O_RDONLY | os.O_DIRECT)
    memory = mmap.mmap(-1, PAGE * N)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for i in range(N):
        submit(i, 0, fd, base + PAGE * i, PAGE, PAGE * i)
with open("ready", "w") as f:
    f.write("ready")
while not os.path.exists("go"):
    time.sleep(0.01)
if sys.argv[1] == "poll":
    libc.syscall(210, ctx, cb, ctypes.create_string_buffer(32))
    assert take(1)[0][0] == 1
else:
    assert sorted(take(N)) == [(i, PAGE) for i in range(N)]
    with open("data", "rb") as f:
        assert f.read() == memory[:]
with open("result", "w") as f:
    f.write("pass")
"""

# Runs a command that gets EPERM from bpf(2).
NO_BPF = """
import ctypes, os, struct, sys
code = struct.pack("HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, 321, 6, 0, 0, 0x50001, 6, 0, 0, 0x7fff0000)
code = ctypes.create_string_buffer(code)
prog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(code)))
if ctypes.CDLL(None).syscall(317, 1, 0, prog):
    sys.exit("no filter")
os.execv(sys.argv[1], sys.argv[1:])
"""


def limit(group, device, reads):
    with open(os.path.join(group, "blkio.throttle.read_iops_device"), "w") as f:
        f.write(f"{os.major(device)}:{os.minor(device)} {reads}")


def removed(group):
    try:
        with open(os.path.join(group, "tasks")) as f:
            for tid in f.read().split():
                with open(os.path.join(group, "..", "tasks"), "w") as parent:
                    parent.write(tid)
        os.rmdir(group)
    except OSError:
        return False
    return True


class Test:
    def __init__(self, path):
        self.top = crtest.scratch()
        self.crcore = crtest.Crcore(path, self.top)

    def holder(self, what, *args, prepare=lambda work: None):
        work = os.path.join(self.top, what)
        os.mkdir(work)
        prepare(work)
        t = crtest.Target([jobs.python(), "-c", HOLDER, what, *args], work, cwd=work)
        t.ready()
        return t

    def refused(self, crcore, words, *args):
        rc, out, err = crcore.run(*args, log=False)
        if rc != 1 or any(x not in out + err for x in words):
            raise Failure(f"{args[0]}: status {rc}, not {words} in:\n{out}{err}")
        print((out + err).strip().splitlines()[-1], flush=True)

    def end(self, t, pid=None):
        os.mknod(t.path("go"))
        if pid:
            crtest.wait_gone(pid)
        else:
            t.wait()
        if t.read("result") != "pass":
            raise Failure(f"the target was harmed: {t.read('stderr')}")

    def refuse(self):
        t = self.holder("poll")
        image = os.path.join(self.top, "poll.image")
        for verb in ["check"], ["dump", "-D", image]:
            self.refused(self.crcore, ["AIO context", "IOCB_CMD_POLL", "io_cancel", str(t.pid)],
                         *verb, "-t", t.pid)
        blind = crtest.Crcore(self.crcore.path, self.top,
                              through=[jobs.python(), "-c", NO_BPF])
        self.refused(blind, ["CAP_SYS_ADMIN", "let the program close it"], "dump", "-t", t.pid, "-D", image)
        self.end(t)

    def slow_disk(self):
        """Reads in flight, one a second: refused after a while, or waited for."""
        number = os.stat(self.top).st_dev
        group = os.path.join(groups.TOP, "blkio", groups.name())
        try:
            os.mkdir(group)
            limit(group, number, 1)
        except OSError as e:
            print(f"no slow disk: {e}")
            return
        try:
            t = self.holder("disk", groups.name(), prepare=self.data)
            image = os.path.join(self.top, "disk.image")
            self.refused(self.crcore, ["requests are in flight", "0.02 s"], "dump",
                         "-t", t.pid, "-D", image, "-R", "--set", "aio.wait=20ms")
            p = self.crcore.start("dump", "-t", t.pid, "-D", image, "--set", "aio.wait=60s",
                                  "--set", "cgroup-freezer.manage=ignore")
            time.sleep(1)
            if p.poll() is not None:
                raise Failure(f"nothing was waited for: {self.crcore.finish(p)}")
            limit(group, number, 0)
            rc, _, err = self.crcore.finish(p)
            if rc:
                raise Failure(f"dump: status {rc}: {err}{self.crcore.tail()}")
            t.killed()
            self.end(t, self.crcore.restore_detached(image))
        finally:
            limit(group, number, 0)
            crtest.wait_for("the group to be empty", crtest.LIMIT, lambda: removed(group))

    def data(self, work):
        with open(os.path.join(work, "data"), "wb") as f:
            f.write(os.urandom(4096 * 32))
            os.fsync(f.fileno())


def killed(job, times):
    target = job.fresh()
    for i in range(times):
        image = job.image()
        p = job.crcore.start("dump", "-t", target.pid, "-D", image, "-R", env=crtest.NO_LEAK_SEARCH)
        time.sleep(0.01 + 0.15 * i / times)
        crtest.kill_some(p, i)
        job.crcore.finish(p)
        shutil.rmtree(image, ignore_errors=True)
    if target.wait(job.limit):
        raise Failure(f"the job was disturbed by killing crcore: {target.read('stderr')}")
    job.compare(target)


def main(path):
    crtest.need("fio")
    t = Test(path)
    t.refuse()
    t.slow_disk()
    # fio before 3.35 waits for ever in its last io_getevents(2) if a stop gives it only some of the
    # events (axboe/fio, pull request 1556); so it asks again and again, for what there is.
    job = jobs.Job(path, fio.command("libaio", 5 if jobs.SHORT else 8,
                                     "--iodepth_batch_complete_min=0", "--userspace_reap"),
                   fio.results)
    job.undisturbed()
    job.disturbed(3)
    job.left_running(3)
    killed(job, 6)


jobs.run(main)
