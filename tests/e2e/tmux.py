# SPDX-License-Identifier: Apache-2.0
"""tmux with an editor, a pager and a compilation in its windows: the screens come back as
they were, the editor goes on with what was typed, and the compilation ends as it should."""
import os
import subprocess
import jobs
import crtest
from crtest import Failure

BUILD = """
i=0
while [ $i -lt 12 ]; do
  i=$((i+1))
  { echo "int f$i(int x) {"; j=0; while [ $j -lt 200 ]; do j=$((j+1)); echo "x = x * $j + $i;"; done
    echo "return x; }"; } >f$i.c
  cc -O2 -c f$i.c -o f$i.o || echo failed >>errors
  echo built $i
done
cat f*.o | sha256sum >sum
echo all built
"""


class Tmux:
    def __init__(self, work):
        self.work = work
        self.env = {**os.environ, "TMUX_TMPDIR": work, "TERM": "screen", "LC_ALL": "C.UTF-8",
                    "SHELL": "/bin/sh", "LESSHISTFILE": "-", "HOME": work}

    def __call__(self, *args):
        p = subprocess.run(["tmux", "-L", "t", "-f", "/dev/null", *args], env=self.env, cwd=self.work,
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if p.returncode:
            raise Failure(f"tmux {' '.join(args)}: {p.stderr}")
        return p.stdout

    def screen(self, window):
        return self("capture-pane", "-p", "-e", "-t", f"s:{window}")

    def expect(self, window, text, keys=()):
        """Waits for a text on the screen; keys: what asks for it, each time anew."""
        def shown():
            if keys:
                self("send-keys", "-t", f"s:{window}", *keys)
            return text in self.screen(window)
        try:
            crtest.wait_for(f"{text!r} in {window}", crtest.LIMIT, shown)
        except Failure as e:
            raise Failure(f"{e}, which shows\n{self.screen(window)}") from None


def main(crcore_path):
    for program in ("tmux", "vim", "less", "cc"):
        crtest.need(program)
    top = crtest.scratch()
    work = os.path.join(top, "work")
    os.mkdir(work)
    crcore = crtest.Crcore(crcore_path, top)
    tmux = Tmux(work)
    with open(os.path.join(work, "text"), "w") as f:
        f.writelines(f"line {n} of the text\n" for n in range(500))
    with open(os.path.join(work, "build.sh"), "w") as f:
        f.write(BUILD)
    tmux("new-session", "-d", "-s", "s", "-n", "vim", "-x", "90", "-y", "30", "vim -u NONE -N doc")
    tmux("new-window", "-d", "-t", "s:", "-n", "less", "less text")
    tmux("new-window", "-d", "-t", "s:", "-n", "build", "sh build.sh; exec sh")
    server = int(tmux("display-message", "-p", "#{pid}"))
    tmux.expect("vim", "~")
    tmux("send-keys", "-t", "s:vim", "ihello from before", "Enter")
    tmux.expect("vim", "hello from before")
    tmux.expect("less", "line 20 of")
    tmux("send-keys", "-t", "s:less", "100g")
    tmux.expect("less", "line 110 of")
    tmux.expect("build", "built 2")
    before = {w: tmux.screen(w) for w in ("vim", "less")}
    image = os.path.join(top, "image")
    crcore.dump(server, image)
    crtest.wait_gone(server)
    crcore.restore_detached(image)
    for w, screen in before.items():
        if tmux.screen(w) != screen:
            raise Failure(f"the screen of {w} was\n{screen}\nand is\n{tmux.screen(w)}")
    tmux("send-keys", "-t", "s:vim", "and after", "Escape", ":w", "Enter")
    tmux.expect("vim", "written")
    tmux("send-keys", "-t", "s:less", "/line 333", "Enter")
    tmux.expect("less", "line 340 of")
    tmux("resize-window", "-t", "s:vim", "-x", "60", "-y", "20")
    tmux.expect("vim", "columns=60", keys=("Escape", ":set columns?", "Enter"))
    tmux.expect("build", "all built")
    with open(os.path.join(work, "doc")) as f:
        text = f.read()
    if text != "hello from before\nand after\n" or os.path.exists(os.path.join(work, "errors")):
        raise Failure(f"the document is {text!r}")
    with open(os.path.join(work, "sum")) as f:
        checkpointed = f.read()
    subprocess.run(["sh", "build.sh"], cwd=work, check=True, capture_output=True, timeout=60)
    with open(os.path.join(work, "sum")) as f:
        if f.read() != checkpointed:
            raise Failure("the compilation gave something else")
    print("screens, document and compilation are as they should be")
    tmux("kill-server")
    crtest.wait_gone(server)


jobs.run(main)
