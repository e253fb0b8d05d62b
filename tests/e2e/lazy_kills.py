# SPDX-License-Identifier: Apache-2.0
"""restore --lazy: the processes that load memory are killed in the middle of it, before and while the
program runs into missing pages, forks, moves memory, has it with others, and throws it away. Every
byte is checked by the program itself; or the tree ends, where nobody can know what it lacks."""
import os
import random
import signal
import sys
import time
import jobs  # finds crtest
import crtest
from crtest import Failure
from lazy_tree import MIB, LazyTree, named


class Kills(LazyTree):
    def kill(self, kills, go_first):
        """The pager, or the one that stands by, that many times in turn."""
        self.what = f"{kills} kills, {'while' if go_first else 'before'} it runs into missing pages"
        t = self.dump()
        pid, pager = self.restore()
        if not pager:
            return False
        if go_first:
            self.go(t)
        for i in range(kills):
            standby = crtest.wait_for("somebody to stand by", crtest.LIMIT, lambda: named("cr-standby"))
            os.kill(standby[0] if i % 2 else named("cr-pager")[0], signal.SIGKILL)
            if i + 1 < kills:
                crtest.wait_for("the other to go on", crtest.LIMIT,
                                lambda: len(named("cr-pager")) == len(named("cr-standby")) == 1 and
                                named("cr-standby") != standby or not crtest.loading(pid))
                if not crtest.loading(pid):
                    break
        self.go(t)
        self.finish(t, pid, "goes on in its place")
        return True

    def kill_while_it_changes(self):
        """The program forks, moves and unmaps memory meanwhile, from many threads."""
        self.what = "kills while its memory changed"
        for program in (self.changing, self.shared) * 2:
            self.kill_meanwhile(program)

    def kill_meanwhile(self, program, args=(MIB,)):
        t = self.dump(program, args)
        pid = self.crcore.restore_detached(self.image, "--lazy")
        for _ in range(4):
            for pager in named("cr-pager"):
                os.kill(pager, signal.SIGKILL)
            time.sleep(random.random() * 0.02)  # any moment is as good
        self.go(t)
        crtest.wait_gone(pid)
        if args or t.read("result"):
            self.finish(t, pid)
            return False
        self.nobody_left()
        errors = [x for x in self.crcore.tail(200).splitlines() if "Error" in x]
        if not errors or any("thrown away" not in x for x in errors):
            raise Failure(f"after {self.what}: no reason was given:\n{self.crcore.tail()}")
        return True

    def kill_while_it_throws_away(self):
        """Where the one that goes on cannot know what is left of shared memory, it ends the tree."""
        self.what = "kills while it threw memory away"
        ended = sum(self.kill_meanwhile(self.shared, ()) for _ in range(2))
        print(f"{ended} of 2 trees ended since what was left of their memory could not be told")

    def run(self):
        caught = [self.kill(1, True), self.kill(1, False), self.kill(4, True)]
        self.kill_while_it_changes()
        self.kill_while_it_throws_away()
        print(f"{sum(caught)} of {len(caught)} caught while loading")
        if not any(caught):
            raise Failure("everything was loaded before anybody could look")


crtest.main(lambda: Kills(*sys.argv[1:]).run())
