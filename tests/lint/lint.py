# SPDX-License-Identifier: Apache-2.0
"""lint.py CHECK ROOT [ARGUMENTS]: rules of the source tree that a compiler does not know.
Prints each place that breaks the rule; the status says whether there was one."""
import os
import re
import subprocess
import sys

# Kinds of kernel objects: plugins know them, the core does not.
KINDS = set("""pipe fifo socket sock epoll inotify fanotify eventfd signalfd timerfd
    tcp udp netlink tty pty ptmx pts ghost cgroup freezer tmpfs semaphore mqueue msgqueue sysv
    iptables nftables nfqueue bpf uring gpu cuda kfd infiniband kmsg aio""".split())

# What the core may say all the same, and why.
ALLOWED = [
    # Main and worker talk through a socket pair of their own.
    ("core/util/worker", r"SOCK_SEQPACKET( socket)?|SOCK_CLOEXEC|SOL_SOCKET|sys/socket\.h|"
                         r"a socket pair"),
    # Names of error numbers and of functions of libc.
    ("core/", r"\bE(PIPE|NOTSOCK|NOTTY)\b|\bpipe2?\("),
    # How the kernel is asked for the flags of mappings.
    ("core/memory/", r"\bflags_bpf\b"),
    ("core/memory/flags_bpf", r"(?i)bpf"),
    # ... and for what tasks have in common.
    ("core/task/", r"\balike_bpf\b"),
    ("core/task/alike_bpf", r"(?i)bpf|\"cgroups\""),
    ("core/util/bpf", r"(?i)bpf"),
    ("core/util/btf.c", r"Documentation/bpf"),
    # A scheduling policy.
    ("core/", r"\bSCHED_(FIFO|RR)\b"),
    # A field of /proc/PID/stat, by its name in proc(5).
    ("core/task/", r"\btty_(nr|pgrp)\b"),
    # System calls that the kernel ends with EINTR although no signal came: by name, as facts
    # about calls; what they wait on does not matter.
    ("core/task/", r"\bSYS_(epoll_\w+|io_getevents|io_pgetevents|io_uring_enter)\b"),
]


def files(root, *folders):
    """Files under version control (a release has no .git: then all but builds)."""
    try:
        out = subprocess.run(["git", "-C", root, "ls-files", "-z", "--", *folders], check=True,
                             capture_output=True, timeout=60).stdout
        names = [x for x in out.decode().split("\0") if x]
    except (OSError, subprocess.CalledProcessError):
        names = []
        for top, dirs, leaf in os.walk(root):
            dirs[:] = [d for d in dirs if not d.startswith(("build", ".git", "__pycache__"))]
            names += [os.path.relpath(os.path.join(top, x), root) for x in leaf]
        names = [x for x in names if not folders or x.startswith(folders)]
    return sorted(x for x in names if os.path.isfile(os.path.join(root, x)))


def text(root, name):
    with open(os.path.join(root, name), "rb") as f:
        data = f.read()
    return None if b"\0" in data else data.decode("utf-8", errors="replace")


def singular(word):
    return word[:-1] if word.endswith("s") and word[:-1] in KINDS else word


def core_names_no_kind(root):
    for name in files(root, "core"):
        for number, line in enumerate((text(root, name) or "").splitlines(), 1):
            rest = line
            for prefix, pattern in ALLOWED:
                if name.startswith(prefix):
                    rest = re.sub(pattern, " ", rest)
            words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+", rest)
            for word in words:
                if singular(word.lower()) in KINDS:
                    yield f"{name}:{number}: names a kind of object ({word}): {line.strip()}"


def licenses(root):
    for name in files(root):
        body = text(root, name)
        if body is None or name.startswith("LICENSE") or name.endswith((".md", ".gitignore")) or not body:
            continue
        found = [x for x in body.splitlines()[:4] if "SPDX-License-Identifier: Apache-2.0" in x]
        if not found:
            yield f"{name}: no SPDX line at the top"
            continue
        both = "Apache-2.0 OR GPL-2.0-only" in found[0]
        if not both and name.endswith((".c", ".h")) and '"GPL"' in body:
            yield f"{name}: holds a program under the GPL, which its SPDX line does not offer"
        if both and "GPL;" not in body:
            yield f"{name}: does not say why it may be used under the GPL, too"


def interpreter_size(root):
    counts = {x: (text(root, x) or "").count("\n") for x in files(root, "parasite")
              if x.endswith((".c", ".h", ".S", ".lds"))}
    total = sum(counts.values())
    if not counts or total >= 600:
        yield f"the interpreter has {total} lines, not under 600: {counts}"


def file_length(root):
    for name in files(root, "core", "parasite", "plugins"):
        lines = (text(root, name) or "").count("\n")
        if name.endswith((".c", ".h")) and lines > 400:
            yield f"{name}: {lines} lines; 400 are enough for one file"


def line_length(root):
    """A tab counts as four columns."""
    for name in files(root, "core", "parasite", "plugins", "include"):
        if name.endswith(".md"):
            continue
        for number, line in enumerate((text(root, name) or "").splitlines(), 1):
            if len(line.expandtabs(4)) > 100:
                yield f"{name}:{number}: over 100 columns"


def unfinished(root):
    words = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X"))
    for name in files(root):
        for number, line in enumerate((text(root, name) or "").splitlines(), 1):
            if re.search(rf"\b({words})\b", line):
                yield f"{name}:{number}: {line.strip()}"


def white_space(root):
    for name in files(root):
        body = text(root, name)
        if not body or name.endswith(".md") or name.startswith("LICENSE"):
            continue
        for number, line in enumerate(body.split("\n"), 1):
            if line != line.rstrip():
                yield f"{name}:{number}: white space at the end"
        if not body.endswith("\n"):
            yield f"{name}: no newline at the end"


def plugin_includes(root):
    """A plugin includes the ABI, its own files, and the system; nothing of the core."""
    for name in files(root, "plugins"):
        for number, line in enumerate((text(root, name) or "").splitlines(), 1):
            if re.match(r'\s*#\s*include\s+["<](\.\./)*(core|parasite)/', line):
                yield f"{name}:{number}: {line.strip()}"


def kinds_are_run(root):
    """Every self-checking target is in the list that makes it a test, and well named."""
    listed = set(re.findall(r"'([\w-]+)'", text(root, "tests/kinds/meson.build") or ""))
    for name in files(root, "tests/kinds"):
        stem, ext = os.path.splitext(os.path.basename(name))
        if ext != ".c" or stem == "kind" or '"kind.h"' not in (text(root, name) or ""):
            continue
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", stem):
            yield f"{name}: not named <kind>-<aspect>"
        if stem not in listed:
            yield f"{name}: not in tests/kinds/meson.build, so it never runs"


def test_exists(root, name):
    if name.startswith("e2e-"):
        paths = [f"tests/e2e/{name[4:].replace('-', '_')}.py"]
    elif name.startswith("unit-"):
        paths = [f"tests/unit/{name}.c"]
    else:
        paths = [f"tests/kinds/{name}.c"]
    return all(os.path.isfile(os.path.join(root, x)) for x in paths)


def descriptors_are_tested(root):
    """Every row of docs/descriptors.md names tests that exist; every test of a kind that it
    is about has a row."""
    name = "docs/descriptors.md"
    named = set()
    for number, line in enumerate(text(root, name).splitlines(), 1):
        if not line.startswith("| ") or line.startswith(("| what ", "| ---")):
            continue
        cells = [x.strip() for x in re.split(r"(?<!\\)\|", line)[1:-1]]
        tests = re.findall(r"`([\w-]+)`", cells[-1])
        if len(cells) != 4 or not tests:
            yield f"{name}:{number}: no test in the last of four cells"
        named.update(tests)
        for test in tests:
            if not test_exists(root, test):
                yield f"{name}:{number}: there is no test {test}"
    for path in files(root, "tests/kinds"):
        stem, ext = os.path.splitext(os.path.basename(path))
        if ext == ".c" and stem.split("-")[0] in ("files", "pipes", "events", "ttys", "seccomp", "aio", "io") and \
                stem != "seccomp" and stem not in named:
            yield f"{name}: has no row for {stem}"


def hooks_are_printed(root):
    """`crcore plugins` knows every hook."""
    abi = re.search(r"^struct crcore_plugin \{.*?^\};", text(root, "include/crcore/plugin.h"), re.M | re.S)
    printed = text(root, "core/host/print.c")
    for hook in re.findall(r"\(\*(\w+)\)", abi.group()):
        if f"HOOK({hook})" not in printed:
            yield f"core/host/print.c: does not print the hook {hook}"


def plugin_symbols(_root, *plugins):
    """A plugin exports one symbol; a sanitizer adds its own."""
    own = re.compile(r"^(_init|_fini|_+(asan|odr_asan|ubsan|sanitizer|start|stop)_?\w*)"
                     r"|\.(str|asan)|^__odr")
    if not plugins:
        yield "no plugin was given"
    for path in plugins:
        out = subprocess.run(["nm", "-D", "--defined-only", path], check=True, text=True,
                             capture_output=True, timeout=60).stdout
        names = sorted(x.split()[-1] for x in out.splitlines() if x.strip())
        names = [x for x in names if not own.search(x)]
        if names != ["crcore_plugin"]:
            yield f"{os.path.basename(path)} exports {' '.join(names) or 'nothing'}"


CHECKS = {f.__name__.replace("_", "-"): f for f in (
    core_names_no_kind, licenses, interpreter_size, file_length, line_length, unfinished,
    white_space, plugin_includes, kinds_are_run, descriptors_are_tested, hooks_are_printed, plugin_symbols)}


def main():
    bad = list(CHECKS[sys.argv[1]](*sys.argv[2:]))
    print("\n".join(bad))
    sys.exit(1 if bad else 0)


main()
