# SPDX-License-Identifier: Apache-2.0
"""events_job.py OUTPUT ITEMS: an asyncio program whose result is the same however often
it is interrupted, unless an event is lost or seen twice.

Subprocesses whose ends it sees by pidfds; a folder that inotify watches and another
process moves files to; an eventfd that a thread counts up; a timerfd; and an event loop
that is itself woken by an eventfd. All of them behind one epoll."""
import asyncio
import ctypes
import os
import struct
import sys
import threading

WRITER = """
import os, sys, time
folder, n = sys.argv[1], int(sys.argv[2])
for i in range(n):
    open(f"tmp-{i}", "w").close()
    os.rename(f"tmp-{i}", f"{folder}/item-{i:05}")
    time.sleep(0.004)
"""
IN_MOVED_TO = 0x80
libc = ctypes.CDLL(None, use_errno=True)


class Wake:
    """What the loop uses to wake itself: an eventfd in place of a pair of sockets."""

    def __init__(self):
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self):
        return self.fd

    def send(self, data):
        os.eventfd_write(self.fd, 1)

    def recv(self, n):
        os.eventfd_read(self.fd)
        return b""

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


class Loop(asyncio.SelectorEventLoop):
    def _make_self_pipe(self):
        self._ssock = self._csock = Wake()
        self._internal_fds += 1
        self._add_reader(self._ssock.fileno(), self._read_from_self)

    def _read_from_self(self):
        try:
            self._ssock.recv(8)
        except BlockingIOError:
            pass


async def run_one(n):
    p = await asyncio.create_subprocess_exec(
        "sh", "-c", f"echo begin; sleep 0.0{n % 3 + 1}; echo $(({n} * 7919 % 10007)); exit {n % 5}",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE)
    text, _ = await p.communicate()
    return f"{n} {text.decode().split()} {await p.wait()}"


async def run_all(items):
    gate = asyncio.Semaphore(4)

    async def one(n):
        async with gate:
            return await run_one(n)
    return await asyncio.gather(*[one(n) for n in range(items)])


async def watch(items):
    os.mkdir("spool")
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    wd = libc.inotify_add_watch(fd, b"spool", IN_MOVED_TO)
    seen, complete = [], asyncio.get_running_loop().create_future()

    def readable():
        data, at = os.read(fd, 65536), 0
        while at < len(data):
            got, mask, _, size = struct.unpack_from("iIII", data, at)
            name = data[at + 16:at + 16 + size].rstrip(b"\0").decode()
            at += 16 + size
            if (got, mask) != (wd, IN_MOVED_TO):
                sys.exit(f"an unexpected event {got} {mask:#x} {name}")
            seen.append(name)
        if len(seen) >= items and not complete.done():
            complete.set_result(None)
    asyncio.get_running_loop().add_reader(fd, readable)
    p = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, "spool", str(items),
                                             stdin=asyncio.subprocess.DEVNULL)
    await complete
    return [*seen, f"writer {await p.wait()}"]


async def count(items):
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    total, complete = 0, asyncio.get_running_loop().create_future()

    def work():
        for n in range(items):
            os.eventfd_write(fd, n + 1)
            event.wait(0.005)

    def readable():
        nonlocal total
        total += os.eventfd_read(fd)
        if total >= items * (items + 1) // 2 and not complete.done():
            complete.set_result(None)
    event = threading.Event()
    asyncio.get_running_loop().add_reader(fd, readable)
    thread = threading.Thread(target=work)
    thread.start()
    await complete
    thread.join()
    return [f"counted {total}"]


async def tick(items):
    fd = libc.timerfd_create(1, os.O_NONBLOCK | os.O_CLOEXEC)
    libc.timerfd_settime(fd, 0, struct.pack("qqqq", 0, 5000000, 0, 5000000), None)
    ticks, complete = 0, asyncio.get_running_loop().create_future()

    def readable():
        nonlocal ticks
        ticks += struct.unpack("Q", os.read(fd, 8))[0]
        if ticks >= items and not complete.done():
            complete.set_result(None)
    asyncio.get_running_loop().add_reader(fd, readable)
    await complete
    return ["ticks enough"]


async def main():
    output, items = sys.argv[1], int(sys.argv[2])
    watcher = asyncio.PidfdChildWatcher()
    watcher.attach_loop(asyncio.get_running_loop())
    asyncio.set_child_watcher(watcher)
    parts = await asyncio.gather(run_all(items), watch(items * 4), count(items * 4), tick(items * 4))
    with open(output, "w") as f:
        for part in parts:
            print("\n".join(part), file=f)


loop = Loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
