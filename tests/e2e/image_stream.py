# SPDX-License-Identifier: Apache-2.0
"""Images as streams: dumped into a channel, packed by another program on the way, and
restored from it; tar(1) can take one apart and make one; a stream that is cut or changed
anywhere is refused and leaves nothing; a tree whose stream nobody reads runs on; and
neither end takes much memory, however slowly the other goes."""
import io
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import jobs
import crtest
from crtest import Failure

LIMIT_KIB = 256 << 10  # at either end


class Job:
    def __init__(self, crcore_path, name, program, *args):
        self.top = os.path.join(crtest.scratch(), name)
        os.mkdir(self.top)
        os.chmod(self.top, 0o777)
        self.crcore = crtest.Crcore(crcore_path, self.top)
        work = os.path.join(self.top, "work")
        self.t = crtest.Target([program, work, *args], work)
        crtest.wait_for("the target", crtest.LIMIT,
                        lambda: self.t.read("ready") or self.t.proc.poll() is not None)
        self.image = os.path.join(self.top, "image")

    def dump(self, *args):
        """The stream, as bytes."""
        name = os.path.join(self.top, f"stream-{self.crcore.count}")
        with open(name, "wb") as f:
            rc, _, err = self.crcore.run("dump", "-t", self.t.pid, "--stream", *args, stdout=f)
        if rc:
            raise Failure(f"dump --stream: status {rc}: {err}{self.crcore.tail()}")
        with open(name, "rb") as f:
            ret = f.read()
        os.unlink(name)
        return ret

    def restore(self, stream, *args):
        """Status and error."""
        p = self.crcore.start("restore", "--stream", "-d", "-D", self.image, *args,
                              stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            p.stdin.buffer.write(stream)
            p.stdin.close()
        except BrokenPipeError:
            pass
        p.stdin = None
        rc, _, err = self.crcore.finish(p)
        return rc, err

    def clean(self, what):
        if os.path.exists(self.image):
            raise Failure(f"{what}: the folder is still there: {os.listdir(self.image)}")

    def pass_on(self):
        with open(self.t.path("go"), "w"):
            pass
        crtest.wait_gone(self.t.pid)
        if self.t.read("result").strip() != "pass":
            raise Failure(f"{self.t.read('result')}{self.t.read('stderr')}")


def through_gzip(crcore, program):
    """What a shell would do: dump | gzip | gzip -d | restore."""
    j = Job(crcore, "gzip", program)
    dump = j.crcore.start("dump", "-t", j.t.pid, "--stream")
    pack = subprocess.Popen(["gzip", "-1"], stdin=dump.stdout, stdout=subprocess.PIPE)
    unpack = subprocess.Popen(["gzip", "-d"], stdin=pack.stdout, stdout=subprocess.PIPE)
    restore = j.crcore.start("restore", "--stream", "-d", "-D", j.image, stdin=unpack.stdout,
                             stdout=subprocess.DEVNULL)
    for p in (dump, pack, unpack):
        p.stdout.close()
    j.t.killed()
    for p in (pack, unpack, dump):
        if p.wait(timeout=crtest.LIMIT):
            raise Failure(f"{p.args[0]}: status {p.returncode}")
    rc, _, err = j.crcore.finish(restore)
    if rc:
        raise Failure(f"restore --stream: status {rc}: {err}{j.crcore.tail()}")
    j.clean("restored")
    j.pass_on()


def through_tar(crcore, program):
    """A stream unpacked by tar is an image; what tar makes of that is a stream."""
    j = Job(crcore, "tar", program)
    stream = j.dump("--compress=zstd")
    j.t.killed()
    names = tarfile.open(fileobj=io.BytesIO(stream)).getnames()
    if names[-1] != "manifest" or len(set(names)) != len(names):
        raise Failure(f"not as it should be: {names}")
    os.mkdir(j.image, 0o700)
    subprocess.run(["tar", "xf", "-", "-C", j.image], input=stream, check=True, timeout=60)
    if "pages-1.bin" not in j.crcore.must("show", "-D", j.image, "--json", log=False):
        raise Failure("show does not know the pages")
    again = subprocess.run(["tar", "cf", "-", "-C", j.image, "."], stdout=subprocess.PIPE,
                           check=True, timeout=60).stdout
    shutil.rmtree(j.image)
    rc, err = j.restore(again, "--keep-images")
    if rc:
        raise Failure(f"of tar: status {rc}: {err}")
    crtest.wait_for("the tree", crtest.LIMIT, lambda: crtest.start_time(j.t.pid))
    if sorted(os.listdir(j.image)) != sorted(names):
        raise Failure(f"--keep-images kept {os.listdir(j.image)}")
    j.pass_on()


def whole(crcore, program):
    """What came in whole and cannot be restored yet is not thrown away."""
    j = Job(crcore, "whole", program)
    stream = j.dump("-R")
    rc, err = j.restore(stream)
    if rc <= 0 or err.count("Error") != 1 or f"stays: crcore restore -D {j.image}" not in err:
        raise Failure(f"restored beside itself: status {rc}: {err}")
    tree = crtest.snapshot.tree(j.t.pid)
    for pid in tree:
        os.kill(pid, signal.SIGKILL)
    j.t.killed()
    for pid in tree[1:]:
        crtest.wait_gone(pid)
    j.crcore.must("restore", "-d", "-D", j.image)
    j.pass_on()


def read_spans(stream):
    """Places in an archive that somebody reads: its headers and what is in its files, not
    what pads them to whole blocks."""
    spans = []
    for member in tarfile.open(fileobj=io.BytesIO(stream)):
        spans.append((member.offset, member.offset_data + member.size))
    return spans


def damaged(crcore, program):
    j = Job(crcore, "damaged", program)
    stream = j.dump("--compress")
    j.t.killed()
    rng = random.Random(3)
    before = crtest.pids()
    size = len(stream)
    cuts = [0, 1, 511, 512, 513, size // 2, size - 1, size - 512, size - 1024]
    cases = [("cut", stream[:x]) for x in cuts[:3 if jobs.SHORT else None]]
    places = [at for start, end in read_spans(stream) for at in range(start, end)]
    for at in [0, 130, 300, *rng.sample(places, 4 if jobs.SHORT else 8)]:
        cases.append((f"byte {at} changed", stream[:at] + bytes([stream[at] ^ 4]) +
                      stream[at + 1:]))
    cases += [("more behind its end", stream + b"x" * 600), ("no archive", os.urandom(5000))]
    refused = 0
    for what, bad in cases:
        rc, err = j.restore(bad)
        if rc <= 0 or err.count("Error") != 1:
            raise Failure(f"{what} ({len(bad)} of {size} bytes): status {rc}: {err}")
        j.clean(what)
        refused += 1
    if set(crtest.pids()) - set(before):
        raise Failure("processes are left")
    print(f"{refused} bad streams were refused")
    rc, err = j.restore(stream)
    if rc:
        raise Failure(f"the whole one: status {rc}: {err}")
    j.clean("the whole one")
    j.pass_on()


def killed(crcore, program):
    """Of those who receive an image one is killed: the other removes what came in so far."""
    j = Job(crcore, "killed", program)
    stream = j.dump()
    j.t.killed()
    for made in True, False:
        for who in "main", "worker":
            if not made:
                os.mkdir(j.image)
            p = j.crcore.start("restore", "--stream", "-d", "-D", j.image, stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL)
            p.stdin.buffer.write(stream[:len(stream) // 2])
            p.stdin.flush()
            crtest.wait_for("a file", crtest.LIMIT, lambda: any(
                x.endswith(".bin") for x in os.path.isdir(j.image) and os.listdir(j.image) or []))
            worker = crtest.children(p.pid)[0]
            os.kill(worker if who == "worker" else p.pid, signal.SIGKILL)
            p.wait()
            crtest.wait_gone(worker)
            p.stdin.close()
            if made:
                j.clean(f"{who} killed")
            elif os.listdir(j.image):
                raise Failure(f"{who} killed: left in the folder: {os.listdir(j.image)}")
            else:
                os.rmdir(j.image)
    rc, err = j.restore(stream)
    if rc:
        raise Failure(f"the whole one: status {rc}: {err}")
    j.pass_on()


def reader_gone(crcore, program):
    j = Job(crcore, "gone", program, "64")
    for reads in 0, 100000:
        r, w = os.pipe()
        p = j.crcore.start("dump", "-t", j.t.pid, "--stream", stdout=w)
        os.close(w)
        left = reads
        while left:
            left -= len(os.read(r, left))
        os.close(r)
        rc, _, err = j.crcore.finish(p)
        if rc <= 0 or "is gone" not in err:
            raise Failure(f"nobody reads: status {rc}: {err}")
        if j.t.proc.poll() is not None:
            raise Failure("the tree has ended")
    r, w = os.pipe()  # nobody reads, and crcore is interrupted
    p = j.crcore.start("dump", "-t", j.t.pid, "--stream", stdout=w)
    os.close(w)
    os.read(r, 1000)
    p.send_signal(signal.SIGTERM)
    rc, _, err = j.crcore.finish(p)
    os.close(r)
    if rc <= 0 or "interrupted" not in err:
        raise Failure(f"interrupted: status {rc}: {err}")
    j.pass_on()


def made_on(crcore, program):
    """A stream that was unpacked is as good a parent as any image."""
    j = Job(crcore, "made-on", program, "40")
    stream = j.dump("-R", "--track-mem")
    parent, child = os.path.join(j.top, "parent"), os.path.join(j.top, "child")
    os.mkdir(parent, 0o700)
    subprocess.run(["tar", "xf", "-", "-C", parent], input=stream, check=True, timeout=60)
    j.crcore.dump(j.t.pid, child, "--prev-images-dir", "../parent", "--compress")
    j.t.killed()
    size = sum(os.path.getsize(x) for x in crtest.page_files(child))
    if len(crtest.page_files(parent)) < 2 or size > 5 << 20:
        raise Failure(f"{crtest.page_files(parent)}; on it {size} bytes")
    j.crcore.restore_detached(child)
    j.pass_on()


def terminals(crcore, program):
    j = Job(crcore, "terminal", program)
    master, slave = pty.openpty()
    for verb, args, how in (("dump", ["-t", j.t.pid], "stdout"), ("restore", ["-D", j.image], "stdin")):
        rc, _, err = j.crcore.run(verb, "--stream", *args, **{how: slave})
        if rc != 2 or "is a terminal" not in err:
            raise Failure(f"{verb} with a terminal: status {rc}: {err}")
    os.close(master)
    os.close(slave)
    j.clean("a terminal")
    j.pass_on()


def peak(pid):
    """What main or its worker has taken at most, in KiB; tasks on their way do not count."""
    most = 0
    for p in crtest.snapshot.tree(pid):
        status = crtest.snapshot.read(f"/proc/{p}/status").decode()
        if p == pid or status.startswith("Name:\tcr-worker\n"):
            for line in status.splitlines():
                if line.startswith("VmHWM"):
                    most = max(most, int(line.split()[1]))
    return most


def bounded(crcore, program):
    """A reader that is slow at first: what it does not take must not gather in memory."""
    j = Job(crcore, "bounded", program, "400")
    for args in ["-R"], ["-R", "--set", "dump.copy-ahead=no"], []:
        r, w = os.pipe()
        p = j.crcore.start("dump", "-t", j.t.pid, "--stream", *args, stdout=w)
        os.close(w)
        most, name = 0, os.path.join(j.top, "stream")
        with open(name, "wb") as f:
            n = 0
            while True:
                got = os.read(r, 1 << 20)
                if not got:
                    break
                f.write(got)
                n += 1
                if n < 10 or n % 20 == 0:
                    most = max(most, peak(p.pid))
                if n < 10:
                    time.sleep(0.05)
        os.close(r)
        rc, _, err = j.crcore.finish(p)
        print(f"dump --stream {' '.join(args)}: {os.path.getsize(name) >> 20} MiB, at most "
              f"{most >> 10} MiB of memory")
        if rc or not 0 < most < LIMIT_KIB:
            raise Failure(f"status {rc}, {most} KiB: {err}{j.crcore.tail()}")
    j.t.killed()
    with open(name, "rb") as f:
        p = j.crcore.start("restore", "--stream", "-d", "-D", j.image, stdin=f,
                           stdout=subprocess.DEVNULL)
        most = 0
        while p.poll() is None:
            most = max(most, peak(p.pid))
            time.sleep(0.01)
    rc, _, err = j.crcore.finish(p)
    print(f"restore --stream: at most {most >> 10} MiB of memory")
    if rc or most >= LIMIT_KIB:
        raise Failure(f"status {rc}, {most} KiB: {err}")
    j.clean("restored")
    j.pass_on()


def main(crcore, small, large):
    through_gzip(crcore, small)
    through_tar(crcore, small)
    whole(crcore, small)
    damaged(crcore, small)
    killed(crcore, small)
    terminals(crcore, small)
    made_on(crcore, large)
    reader_gone(crcore, large)
    bounded(crcore, large)


jobs.run(main)
