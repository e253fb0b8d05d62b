# SPDX-License-Identifier: Apache-2.0
"""An asyncio program with subprocesses, inotify, eventfd and timerfd, checkpointed several
times; and what holds events that cannot be brought back, which is refused by name."""
import os
import time
import jobs
import crtest
from crtest import Failure

HOLDER = """
import ctypes, os, struct, sys, time
libc = ctypes.CDLL(None)
kind = sys.argv[1]
if kind == "fanotify":
    fd = libc.fanotify_init(4, 0)
    open("asked", "w").close()
    libc.fanotify_mark(fd, 1, ctypes.c_uint64(0x10000), -100, b"asked")
elif kind == "fanotify events":
    fd = libc.fanotify_init(0, 0)
    libc.fanotify_mark(fd, 1, ctypes.c_uint64(0x08000020), -100, b".")
    open("file", "w").close()
elif kind == "userfaultfd":
    fd = libc.syscall(323, 0)
elif kind.startswith("supervised"):
    # ld nr; jeq getcpu: USER_NOTIF, else ALLOW
    code = struct.pack("HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, 309, 6, 0, 0, 0x7fc00000,
                       6, 0, 0, 0x7fff0000)
    code = ctypes.create_string_buffer(code)
    libc.prctl(38, 1, 0, 0, 0)
    fd = libc.syscall(317, 1, 8, ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", 4, ctypes.addressof(code)))) # SECCOMP_FILTER_FLAG_NEW_LISTENER
    if kind == "supervised from outside":
        os.close(fd)
elif kind == "foreign pidfd":
    fd = os.pidfd_open(os.getppid())
elif kind == "deleted watch":
    keep = open("file", "w")
    fd = libc.inotify_init1(0)
    libc.inotify_add_watch(fd, b"file", 2)
    os.unlink("file")
elif kind == "queued events":
    fd = libc.inotify_init1(0)
    libc.inotify_add_watch(fd, b".", 0x100)
    open("file", "w").close()
if fd < 0:
    sys.exit("not here")
os.mknod("ready")
while not os.path.exists("go"):
    time.sleep(0.01)
"""
REFUSALS = {
    "fanotify": "asked for permission", "fanotify events": "not read yet", "userfaultfd": "unregister",
    "supervised": "listener of a seccomp filter", "supervised from outside": "its system calls to a supervisor",
    "foreign pidfd": "outside the tree", "deleted watch": "deleted file",
    "queued events": "not read yet",
}


def refuse(crcore, top):
    for kind, words in REFUSALS.items():
        work = os.path.join(top, kind.replace(" ", "-"))
        t = crtest.Target([jobs.python(), "-c", HOLDER, kind], work, cwd=work)
        crtest.wait_for(kind, crtest.LIMIT,
                        lambda t=t: os.path.exists(t.path("ready")) or t.proc.poll() is not None)
        if t.proc.poll() is not None:
            print(f"{kind}: {t.read('stderr').strip()}")
            continue
        verbs = [("check", "-t", t.pid), ("dump", "-t", t.pid, "-D", work + ".image")]
        if kind == "supervised from outside":
            del verbs[0] # what a filter does can be seen only in a thread that is stopped
        for verb in verbs:
            rc, out, err = crcore.run(*verb, log=False)
            if rc != 1 or words not in out + err or str(t.pid) not in out + err or \
                    (verb[0] == "dump" and "fd " not in err and
                     kind != "supervised from outside"):
                raise Failure(f"{kind}: {verb[0]}: status {rc}, no {words!r} in:\n{out}{err}")
        print(err.strip(), flush=True)
        os.mknod(t.path("go"))
        if t.wait():
            raise Failure(f"{kind}: the target was harmed: {t.read('stderr')}")


def main(crcore):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "events_job.py")
    job = jobs.Job(crcore, [jobs.python(), "-W", "ignore", script, "result",
                            "60" if jobs.SHORT else "100"],
                   lambda work: {"result": jobs.sha256(os.path.join(work, "result"))})
    job.crcore = crtest.Patient(crcore, job.top, "not read yet")
    refuse(job.crcore, job.top)
    job.undisturbed()
    job.disturbed(2 if jobs.SHORT else 3)
    job.left_running(2 if jobs.SHORT else 3)


jobs.run(main)
