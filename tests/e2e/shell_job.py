# SPDX-License-Identifier: Apache-2.0
"""A job of an interactive shell: saved in one terminal, goes on in another. It is the
foreground there, reads what is typed, sees the terminal as it had set it, and is ended
by the interrupt key; the shell gets its exit status."""
import os
import pty
import re
import select
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import crtest
from crtest import Failure

JOB = r"""
import os, sys, termios
mode = termios.tcgetattr(0)
mode[6][termios.VERASE] = b"#"
termios.tcsetattr(0, termios.TCSANOW, mode)
tty = open("/dev/tty", "w")
try:
    print("job", os.getpid(), flush=True)
    for n, line in enumerate(sys.stdin):
        fore = os.tcgetpgrp(tty.fileno()) == os.getpgrp()
        erase = termios.tcgetattr(0)[6][termios.VERASE].decode()
        print(f"line {n}: {line.strip()} {fore} {erase}", file=tty, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(3)
"""


class Terminal:
    """bash, in a terminal that the test drives."""

    def __init__(self):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.closerange(3, 1024)
            os.environ.update(PS1="prompt> ", TERM="dumb")
            os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
        self.expect("prompt> ")

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, limit=30):
        """Reads up to the end of what matches; returns the match."""
        end = time.monotonic() + limit
        while True:
            m = re.search(pattern, self.text)
            if m:
                self.text = self.text[m.end():]
                return m
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                raise Failure(f"waited for {pattern!r}; the terminal shows:\n{self.text}")
            try:
                self.text += os.read(self.fd, 4096).decode(errors="replace")
            except OSError:
                raise Failure(f"the shell ended before {pattern!r}:\n{self.text}") from None


def main():
    crtest.need("bash")
    top = crtest.scratch()
    crcore = crtest.Crcore(os.path.abspath(sys.argv[1]), top)
    job, image = os.path.join(top, "job.py"), os.path.join(top, "image")
    with open(job, "w") as f:
        f.write(JOB)

    one = Terminal()
    one.type(f"exec 9</dev/null; {sys.executable} {job}\n")
    pid = int(one.expect(r"job (\d+)\r\n").group(1))
    one.type("first\n")
    one.expect(r"line 0: first True #\r\n")
    rc, out, _ = crcore.run("check", "-t", pid)
    if not rc or "--shell-job" not in out:
        raise Failure(f"check without -j does not name --shell-job:\n{out}")
    crcore.must("check", "-j", "-t", pid)
    crcore.dump(pid, image, "-j")
    one.expect("Killed")
    one.expect("prompt> ")

    two = Terminal()
    two.type(f"{crcore.path} restore -j -D {image}\n")
    crtest.wait_for("the restored job", 30, lambda: crtest.start_time(pid))
    two.type("secund##ond\n")
    two.expect(r"line 1: secuond True #\r\n")
    two.type("\x03")
    two.expect("interrupted")
    two.expect("prompt> ")
    two.type("echo status $?\n")
    two.expect(r"\nstatus 3\r\n")
    crtest.wait_gone(pid)


crtest.main(main)
