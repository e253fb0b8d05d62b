# SPDX-License-Identifier: Apache-2.0
"""What /proc tells about a process tree, in a form that can be compared.

Taken before a dump and after a restore (or after a dump that left the tree
running), two snapshots of a tree that stands still must be equal. Fields that
rightly differ (times, counters, addresses of kernel objects, the parent of the
root) are left out; everything else is in.
"""
import os
import re
import time

STAT = ("pid comm state ppid pgrp session tty_nr tpgid flags minflt cminflt majflt cmajflt "
        "utime stime cutime cstime priority nice num_threads itrealvalue starttime vsize rss "
        "rsslim startcode endcode startstack kstkesp kstkeip signal blocked sigignore sigcatch "
        "wchan nswap cnswap exit_signal processor rt_priority policy delayacct guest cguest "
        "start_data end_data start_brk arg_start arg_end env_start env_end exit_code").split()
STAT_KEEP = ("comm pgrp session tty_nr tpgid priority nice num_threads vsize rsslim startcode "
             "endcode startstack exit_signal rt_priority policy start_data end_data start_brk "
             "arg_start arg_end env_start env_end exit_code").split()
STATUS_KEEP = ("Name Umask Tgid Pid TracerPid Uid Gid FDSize Groups NStgid NSpid NSpgid NSsid "
               "Threads SigPnd ShdPnd SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb "
               "NoNewPrivs Seccomp Seccomp_filters Cpus_allowed Mems_allowed THP_enabled "
               "VmLck HugetlbPages").split()
SMAPS_KEEP = ("VmFlags", "Locked", "Private_Hugetlb", "Shared_Hugetlb")


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        return f"<{e.strerror}>".encode()


def link(path):
    try:
        return os.readlink(path)
    except OSError as e:
        return f"<{e.strerror}>"


def stat_fields(path):
    text = read(path).decode(errors="replace")
    if ")" not in text:
        return {}
    head, _, tail = text.rpartition(")")
    values = [head.split(" (")[0], head.split(" (", 1)[1]] + tail.split()
    return dict(zip(STAT, values))


def status_fields(path):
    ret = {}
    for line in read(path).decode(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key in STATUS_KEEP:
            ret[key] = value.strip()
    ret.pop("FDSize", None)
    return ret


def merged(lines):
    """Neighbours of private anonymous memory that differ in nothing are one: whether the
    kernel merges them depends on their past (mm/vma.c)."""
    ret = []
    for line in lines:
        span, _, rest = line.partition(" ")
        start, end = span.split("-")
        if ret and ret[-1][1] == start and ret[-1][2] == rest and \
                re.match(r"...p 0+ 00:00 0 *;", rest):
            ret[-1][1] = end
        else:
            ret.append([start, end, rest])
    return [f"{start}-{end} {rest}" for start, end, rest in ret]


def ring_memory(line):
    """That of a restored io_uring is a memfd, which may grow and be dumped in a core file, and
    in which what the ring has at a second offset too is at the first."""
    name = r"\S+ \d+ +(anon_inode:\[io_uring\]|/memfd:restored-io_uring \(deleted\))"
    line, found = re.subn(name, "* io_uring", line)
    return re.sub(r" (de|me|mm)\b", "", line).replace(" 08000000 ", " 00000000 ") if found else line


def mappings(pid):
    """Each mapping as maps shows it, with the lasting parts of smaps."""
    ret = []
    for line in read(f"/proc/{pid}/smaps").decode(errors="replace").splitlines():
        if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
            ret.append(line)
        elif line.split(":")[0] in SMAPS_KEEP:
            ret[-1] += "; " + " ".join(line.split())
    ret = merged(ret)
    # Who made a named semaphore is shown the name that sem_open(3) had for it before it was one.
    ret = [re.sub(r"/dev/shm/sem\.[^ ;]+( \(deleted\))?", "/dev/shm/sem.*", x) for x in ret]
    ret = [ring_memory(x) for x in ret]
    ret = [re.sub(r"\d+ +socket:\[\d+\]", "* socket:[*]", x) for x in ret]
    # Shared memory and deleted files are new files after a restore: inodes differ.
    return [re.sub(r"(\S+ \S+ \S+ \S+) \d+ +(/dev/zero|/memfd:|/SYSV|/dev/shm/|/.* \(deleted\))",
                   r"\1 * \2", x)
            for x in ret]


def fdinfo(pid, fd):
    keep = []
    for line in read(f"/proc/{pid}/fdinfo/{fd}").decode(errors="replace").splitlines():
        if line.startswith("tfd:"):  # epoll sorts them by address; anonymous inodes are new
            line = line.partition(" ino:")[0]
        if not line.startswith(("mnt_id:", "ino:", "scm_fds:", "eventfd-id:")):
            keep.append(" ".join(line.split()))
    return sorted(keep)


def descriptor(pid, fd):
    """What a descriptor leads to; numbers of anonymous objects are new after a restore."""
    return re.sub(r"^(pipe|socket|anon_inode):\[\d+\]$", r"\1:[*]", link(f"/proc/{pid}/fd/{fd}"))


def thread(pid, tid):
    base = f"/proc/{pid}/task/{tid}"
    stat = stat_fields(f"{base}/stat")
    if stat.get("state") in ("Z", "X"):  # what can be told of the dead
        return {k: stat.get(k) for k in ("comm", "state", "pgrp", "session", "exit_signal",
                                         "exit_code")}
    ret = {f"stat.{k}": v for k, v in stat.items() if k in STAT_KEEP}
    state = stat.get("state", "?")
    ret["state"] = state if state in "TtZX" else "alive"
    for k, v in status_fields(f"{base}/status").items():
        ret[f"status.{k}"] = v
    for name in ("comm", "personality"):
        ret[name] = read(f"{base}/{name}").decode(errors="replace").strip()
    ret["timerslack"] = read(f"/proc/{tid}/timerslack_ns").decode(errors="replace").strip()
    return ret


def process(pid):
    base = f"/proc/{pid}"
    stat = stat_fields(f"{base}/stat")
    ret = {"ppid": stat.get("ppid"), "tids": sorted(os.listdir(f"{base}/task"), key=int)}
    for tid in ret["tids"]:
        for k, v in thread(pid, tid).items():
            ret[f"task {tid}: {k}"] = v
    if stat.get("state") in ("Z", "X"):
        return ret
    for name in ("exe", "cwd", "root", "ns/mnt", "ns/net", "ns/pid_for_children"):
        ret[name] = link(f"{base}/{name}")
    for name in ("cmdline", "environ", "auxv", "limits", "oom_score_adj", "coredump_filter",
                 "cgroup", "timers", "loginuid"):
        ret[name] = read(f"{base}/{name}").decode("latin-1").splitlines()
    # Times left in the timers run on.
    ret["timers"] = [x for x in ret["timers"] if not x.startswith("ClockID-left")]
    ret["maps"] = mappings(pid)
    for fd in sorted(os.listdir(f"{base}/fd"), key=int):
        ret[f"fd {fd}"] = descriptor(pid, fd)
        ret[f"fdinfo {fd}"] = fdinfo(pid, fd)
    return ret


def children(pid):
    ret = []
    for tid in os.listdir(f"/proc/{pid}/task"):
        ret += [int(x) for x in read(f"/proc/{pid}/task/{tid}/children").split()
                if x.isdigit()]
    return sorted(ret)


def tree(root):
    """Pids of the tree, parents before children."""
    pids = [root]
    for pid in pids:
        try:
            pids += children(pid)
        except OSError:
            pass
    return pids


def take(root):
    ret = {}
    for pid in tree(root):
        try:
            ret[pid] = process(pid)
        except OSError as e:
            ret[pid] = {"gone": str(e)}
    ret.get(root, {}).pop("ppid", None)
    return ret


def settled(root, seconds=10):
    """A snapshot of a tree that has just said it is ready: taken when it changes no more."""
    end = time.monotonic() + seconds
    ret = take(root)
    while time.monotonic() < end:
        time.sleep(0.02)
        before, ret = ret, take(root)
        if not diff(before, ret):
            break
    return ret


def diff(before, after):
    """Lines that say what differs; none if the trees are alike."""
    out = []
    for pid in sorted(set(before) | set(after)):
        a, b = before.get(pid), after.get(pid)
        if a is None or b is None:
            out.append(f"pid {pid}: {'new' if a is None else 'missing'}")
            continue
        for key in sorted(set(a) | set(b)):
            x, y = a.get(key), b.get(key)
            if x == y:
                continue
            if isinstance(x, list) and isinstance(y, list):
                gone = [i for i in x if i not in y]
                new = [i for i in y if i not in x]
                out += [f"pid {pid}: {key}: was: {i}" for i in gone[:8]]
                out += [f"pid {pid}: {key}: now: {i}" for i in new[:8]]
                if not gone and not new:
                    out.append(f"pid {pid}: {key}: order or number differs")
            else:
                out.append(f"pid {pid}: {key}: was {x!r}, now {y!r}")
    return out
