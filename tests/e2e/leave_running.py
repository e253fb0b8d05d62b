# SPDX-License-Identifier: Apache-2.0
"""dump -R twenty times, at an interval, of busy programs that verify themselves, with
threads and with processes: never disturbed. CRCORE_TEST_INTERVAL is in seconds."""
import os
import shutil
import sys
import time
import jobs
import crtest
from crtest import Failure


def one(crcore_path, name, program):
    top = os.path.join(crtest.scratch(), name)
    os.mkdir(top)
    os.chmod(top, 0o777)
    crcore = crtest.Crcore(crcore_path, top)
    work = os.path.join(top, "work")
    t = crtest.Target([program, work], work).ready()
    if "skip" in t.read("result"):
        print(f"{name}: {t.read('result').strip()}")
        return
    interval = float(os.environ.get("CRCORE_TEST_INTERVAL", "0.1" if jobs.SHORT else "0.3"))
    took = []
    for i in range(20):
        time.sleep(interval)
        image = os.path.join(top, f"image-{i}")
        start = time.monotonic()
        crcore.dump(t.pid, image, "-R")
        took.append(time.monotonic() - start)
        shutil.rmtree(image)
        if t.proc.poll() is not None:
            raise Failure(f"{name}: disturbed by dump {i}: {t.read('result')}{t.read('stderr')}")
    with open(t.path("go"), "w"):
        pass
    status = t.wait()
    if status or t.read("result").strip() != "pass":
        raise Failure(f"{name}: {t.read('result')}; status {status}\n{t.read('stderr')}")
    took.sort()
    print(f"{name}: 20 dumps, median {took[10] * 1000:.0f} ms, longest {took[-1] * 1000:.0f} ms",
          flush=True)


def main(crcore, *programs):
    for program in programs:
        one(crcore, os.path.basename(program), program)


jobs.run(main)
