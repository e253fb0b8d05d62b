#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A plugin that fails, or hangs, in each of its hooks: the command ends with
one clear line, a dump leaves the target as it was, a restore leaves nothing,
and what the plugin changed outside is taken back (tests/abi/misbehave.c)."""
import os

import abilib
import crtest
from crtest import Failure

WAYS = {
    "fail": "was told to fail in {hook}; unset MISBEHAVE",
    "silent": "without saying why: Input/output error",
    "odd": "returned -99999, which is no errno",
    "hang": "did not come back from stage",
    "spin": "did not come back from stage",
}
DUMP_HOOKS = ["open", "observe", "claim", "review", "ask", "hold", "save_object", "save", "release"]
RESTORE_HOOKS = ["open", "load_record", "check", "prepare", "plan", "create", "emit",
                 "settle", "release"]
POLICY = """version: 1
plugins:
  files: {{}}
  misbehave: {{ mark: {mark}, time-limit: 100ms }}
"""


class Bench:
    def __init__(self):
        self.folder = crtest.scratch()
        self.mark = os.path.join(self.folder, "mark")
        self.policy = os.path.join(self.folder, "policy.yaml")
        abilib.write(self.policy, POLICY.format(mark=self.mark))
        os.environ["CRCORE_PLUGIN_PATH"] = os.path.join(abilib.BUILD, "tests", "abi")
        self.crcore = crtest.Crcore(abilib.CRCORE, self.folder)
        self.images = os.path.join(self.folder, "images")

    def expect_error(self, args, how, says):
        """Runs a command that has to fail, because of the plugin, with these words."""
        rc, out, err = self.crcore.run(*args, "--policy", self.policy, env={"MISBEHAVE": how})
        lines = abilib.error_lines(err)
        if rc != 1 or len(lines) != 1 or "misbehave" not in lines[0] or says not in lines[0]:
            raise Failure(f"{args[0]} with {how}: status {rc}, expected \"{says}\"\n{out}{err}"
                          f"{self.crcore.tail()}")
        if os.path.exists(self.mark):
            raise Failure(f"{args[0]} with {how}: what hold changed was not taken back")

    def dumps(self, target):
        for hook in DUMP_HOOKS:
            for way, says in WAYS.items():
                self.expect_error(["dump", "-t", target.pid, "-D", self.images], f"{way}:{hook}",
                                  says.format(hook=hook))
                target.must_run()
                if os.path.exists(os.path.join(self.images, "manifest")):
                    raise Failure(f"{way}:{hook}: there is an image of a dump that failed")
        for how in ["hang:close", "hang:undo", ""]: # these only get a warning
            self.crcore.dump(target.pid, f"{self.images}-{how[5:]}", "-R", "--policy", self.policy,
                             env={"MISBEHAVE": how})
            target.must_run()

    def restores(self, target):
        self.crcore.dump(target.pid, self.images, "--policy", self.policy)
        target.killed()
        for hook in RESTORE_HOOKS:
            for way, says in WAYS.items():
                self.expect_error(["restore", "-d", "-D", self.images], f"{way}:{hook}",
                                  says.format(hook=hook))
                if os.path.exists(f"/proc/{target.pid}"):
                    raise Failure(f"{way}:{hook}: process {target.pid} is there after a restore "
                                  "that failed")
        self.crcore.restore_detached(self.images, "--policy", self.policy)
        target.must_run()
        target.say("end")
        crtest.wait_gone(target.pid, 20)

    def loads(self, target):
        for how, says in [("no-close", "lacks the hook close"),
                          ("size-small", "has 40 bytes"),
                          ("abi-newer", "for version 2 of the plugin ABI, this crcore has version 1"),
                          ("order-itself", "misbehave after misbehave")]:
            self.expect_error(["dump", "-t", target.pid, "-D", self.images], how, says)
            target.must_run()


def main():
    abilib.need_crcore()
    bench = Bench()
    target = abilib.Holder(os.path.join(bench.folder, "target"))
    bench.loads(target)
    bench.dumps(target)
    bench.restores(target)


crtest.main(main)
