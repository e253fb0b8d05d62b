# SPDX-License-Identifier: Apache-2.0
"""`find | sort | xz`, and `git gc` with its many processes and threads, checkpointed on
their way."""
import os
import subprocess
import jobs
import crtest

GC = """
git -c pack.threads=2 gc --quiet --aggressive --prune=now
git fsck --full --strict >fsck 2>&1 || echo bad >>fsck
git rev-list --objects --all | sort >objects
ls .git/objects/pack/*.pack | wc -l >packs
"""


def history(work):
    """Commits with contents that compress, as loose objects."""
    out = []
    for n in range(150):
        text = "".join(f"line {i} of version {n // (i % 7 + 1)} {i * n % 97}\n" for i in range(500))
        out.append(f"blob\nmark :{2 * n + 1}\ndata {len(text)}\n{text}\n"
                   f"commit refs/heads/main\nmark :{2 * n + 2}\n"
                   f"committer A <a@example.org> {1700000000 + n} +0000\ndata 4\nwork\n"
                   + (f"from :{2 * n}\n" if n else "") + f"M 644 :{2 * n + 1} file-{n % 9}\n\n")
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    subprocess.run(["git", "init", "-q", "-b", "main", work], check=True, env=env, timeout=60)
    subprocess.run(["git", "-C", work, "-c", "fastimport.unpackLimit=100000", "fast-import", "--quiet"],
                   check=True, input="".join(out).encode(), env=env, timeout=60)


def main(crcore):
    for program in ("git", "xz"):
        crtest.need(program)
    os.environ["GIT_CONFIG_GLOBAL"] = "/dev/null"
    folder = next(x for x in ("/usr/include", "/usr/share") if os.path.isdir(x))
    script = ('find "$1" -type f -exec grep -h int {} + | LC_ALL=C sort -S 1M | xz -1 >out.xz; '
              'sha256sum out.xz >sum')
    kinds = [["sort", "/bin/sh", "-c", script, "job", folder], ["gc", "/bin/sh", "-c", GC]]
    results = {"sort": ("out.xz", "sum"), "gc": ("fsck", "objects", "packs")}
    for name, *argv in kinds:
        job = jobs.Job(crcore, argv,
                       lambda work, name=name: {x: jobs.sha256(os.path.join(work, x))
                                                for x in results[name]},
                       history if name == "gc" else None)
        job.undisturbed()
        job.disturbed(1 if jobs.SHORT else 3)
        job.left_running(1)


jobs.run(main)
