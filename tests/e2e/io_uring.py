# SPDX-License-Identifier: Apache-2.0
"""Rings of io_uring that cannot be brought back are refused by name, before and at the dump,
and go on working. Others are brought back while they work: fio, whose rings are for one thread each,
verifies what it wrote over several checkpoints."""
import os
import jobs
import crtest
import fio
from crtest import Failure

HOLDER = """
import ctypes, mmap, os, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
kind = sys.argv[1]

def setup(flags=0):
    global fd, sq, cq
    params = ctypes.create_string_buffer(struct.pack("III", 0, 0, flags), 120)
    fd = libc.syscall(425, 4, params)
    if fd < 0:
        sys.exit(f"not here: {os.strerror(ctypes.get_errno())}")
    sq, cq = struct.unpack_from("10I", params, 40), struct.unpack_from("10I", params, 80)

def register(op, *numbers):
    v = ctypes.create_string_buffer(struct.pack("i", *numbers)) if numbers else None
    if libc.syscall(427, fd, op, v, len(numbers)) < 0:
        sys.exit(f"not here: {os.strerror(ctypes.get_errno())}")

def submit(*sqe):
    with mmap.mmap(fd, 4096) as rings, mmap.mmap(fd, 4096, offset=0x10000000) as sqes:
        tail, = struct.unpack_from("I", rings, sq[1])
        struct.pack_into("BBHiQQII", sqes, 64 * (tail & 3), *sqe)
        struct.pack_into("I", rings, sq[6] + 4 * (tail & 3), tail & 3)
        struct.pack_into("I", rings, sq[1], tail + 1)
        if libc.syscall(426, fd, 1, 0, 0, None, 0) != 1:
            sys.exit("not submitted")

setup({"SQPOLL": 2, "IOPOLL": 1, "one thread": 0x1000}.get(kind, 0))
if kind == "files":
    register(2, 0)
elif kind == "buffers":
    room = ctypes.create_string_buffer(8192)
    iov = ctypes.create_string_buffer(struct.pack("QQ", ctypes.addressof(room), 8192))
    if libc.syscall(427, fd, 0, iov, 1) < 0:
        sys.exit("not here")
elif kind == "eventfd":
    register(4, os.eventfd(0))
elif kind == "personality":
    register(9)
elif kind == "its descriptor":
    update = ctypes.create_string_buffer(struct.pack("IIQ", 0xffffffff, 0, fd))
    if libc.syscall(427, fd, 20, update, 1) < 0:
        sys.exit("not here")
elif kind == "poll":
    pipe = os.pipe()
    submit(6, 0, 0, pipe[0], 0, 0, 0, 1)
elif kind == "read":
    pipe, room = os.pipe(), ctypes.create_string_buffer(8)
    submit(22, 0, 0, pipe[0], 0xffffffffffffffff, ctypes.addressof(room), 8, 0)
elif kind == "by a worker":
    os.mkfifo("fifo") # to open it is to wait for the other side
    name = ctypes.create_string_buffer(b"fifo")
    submit(18, 16, 0, -100, 0, ctypes.addressof(name), 0, 0)
elif kind == "timeout":
    far = ctypes.create_string_buffer(struct.pack("qq", 10000, 0))
    submit(11, 0, 0, -1, 0, ctypes.addressof(far), 1, 0)
elif kind == "no descriptor":
    libc.syscall(9, None, 4096, 3, 1, fd, 0)
    os.close(fd)
os.mknod("ready")
while not os.path.exists("go"):
    time.sleep(0.01)
if kind == "read":
    os.write(pipe[1], b"at last!")
    while room.raw != b"at last!":
        libc.syscall(426, fd, 0, 1, 1, None, 0)
elif kind == "by a worker":
    os.close(os.open("fifo", os.O_WRONLY))
"""
REFUSALS = {
    "SQPOLL": "IORING_SETUP_SQPOLL", "IOPOLL": "IORING_SETUP_IOPOLL", "files": "IORING_REGISTER_FILES",
    "one thread": "IORING_SETUP_SINGLE_ISSUER alone",
    "buffers": "IORING_REGISTER_BUFFERS", "eventfd": "IORING_REGISTER_EVENTFD",
    "personality": "IORING_REGISTER_PERSONALITY", "its descriptor": "IORING_REGISTER_RING_FDS",
    "poll": "what it polls", "read": "what it polls", "by a worker": "in flight",
    "timeout": "a timeout", "no descriptor": "no descriptor of it is open",
}
SHOWS_WHEN_FROZEN = ("by a worker",)


def refuse(crcore, top, kind, words):
    work = os.path.join(top, kind.replace(" ", "-"))
    t = crtest.Target([jobs.python(), "-c", HOLDER, kind], work, cwd=work)
    crtest.wait_for(kind, crtest.LIMIT,
                    lambda: os.path.exists(t.path("ready")) or t.proc.poll() is not None)
    if t.proc.poll() is not None:
        print(f"{kind}: {t.read('stderr').strip()}")
        return
    verbs = [] if kind in SHOWS_WHEN_FROZEN else [("check", "-t", t.pid)]
    for verb in verbs + [("dump", "-t", t.pid, "-D", work + ".image", "--set", "io-uring.wait=20ms")]:
        rc, out, err = crcore.run(*verb, log=False)
        if rc != 1 or words not in out + err or f"pid {t.pid}: " not in out + err or "; " not in err:
            raise Failure(f"{kind}: {verb[0]}: status {rc}, no {words!r} in:\n{out}{err}")
    print(err.strip(), flush=True)
    os.mknod(t.path("go"))
    if t.wait():
        raise Failure(f"{kind}: the target was harmed: {t.read('stderr')}")


def main(path):
    top = os.path.join(crtest.scratch(), "io-uring")
    crcore = crtest.Crcore(path, top)
    for kind, words in REFUSALS.items():
        refuse(crcore, top, kind, words)
    crtest.need("fio")
    job = jobs.Job(path, fio.command("io_uring", 5 if jobs.SHORT else 8), fio.results)
    job.crcore = crtest.Patient(path, job.top, "dump again") # a disk may be slow
    job.undisturbed()
    job.disturbed(3)
    job.left_running(3)


jobs.run(main)
