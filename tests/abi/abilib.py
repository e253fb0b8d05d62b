# SPDX-License-Identifier: Apache-2.0
"""What the ABI tests share: crcore as built, and a process that reads the
kernel's log, which no plugin of crcore knows."""
import os
import re

import crtest
from crtest import Failure, Skip

BUILD = os.environ["CRCORE_BUILD"]
SOURCE = os.environ["CRCORE_SOURCE"]
CRCORE = os.environ["CRCORE"]


def need_crcore():
    """The commands must be there, and the log readable and writable."""
    if not os.access(CRCORE, os.X_OK):
        raise Skip("crcore is not built")
    try:
        os.close(os.open("/dev/kmsg", os.O_RDWR | os.O_NONBLOCK))
    except OSError as e:
        raise Skip(f"/dev/kmsg: {e.strerror}") from None


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def error_lines(text):
    return [x for x in text.splitlines() if x.startswith("Error")]


class Holder(crtest.Target):
    """A running tests/abi/holder."""
    count = 0

    def __init__(self, folder):
        Holder.count += 1
        self.mark = f"crcore-abi-{os.getpid()}-{Holder.count}"
        super().__init__([os.environ["HOLDER"], self.mark, os.path.join(folder, "beat")], folder,
                         cwd="/")
        crtest.wait_for("the first beat", 10, self.beat)

    def say(self, what):
        """One record; each through a descriptor of its own, else they are rate limited."""
        with open("/dev/kmsg", "w") as f:
            f.write(f"<7>{self.mark} {what}\n")

    def beat(self):
        return int(self.read("beat") or 0)

    def field(self, key):
        with open(f"/proc/{self.pid}/status") as f:
            return re.search(rf"^{key}:\s*(\S+)", f.read(), re.M).group(1)

    def must_run(self):
        """It is alive, untraced, not stopped, and gets on."""
        if not crtest.start_time(self.pid):
            raise Failure(f"the target is gone\n{self.read('stderr')}")
        if self.field("TracerPid") != "0" or self.field("State") in "Tt":
            raise Failure(f"the target is traced or stopped: {self.status('State')}")
        before = self.beat()
        crtest.wait_for("the next beat", 10, lambda: self.beat() > before)

    def printed(self):
        return self.read("stdout").split()
