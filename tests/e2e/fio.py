# SPDX-License-Identifier: Apache-2.0
"""fio, which verifies what it has written, as a job: two processes that write and read past the
page cache, by requests of one engine."""
import json
import os


def command(engine, loops, both="", second=""):
    """More options of both processes, or of the second."""
    return ["sh", "-c", f"fio --ioengine={engine} --direct=1 --verify=crc32c --verify_state_save=0 "
            f"--verify_fatal=1 --size=6m --loops={loops} {both} --output=out "
            "--output-format=json "
            "--name=a --rw=randwrite --bs=4k --iodepth=32 "
            f"--name=b --rw=randrw --bs=8k --iodepth=16 {second}; echo $? > status"]


def results(work):
    with open(os.path.join(work, "out")) as f:
        text = f.read()
    out = json.loads(text[text.index("{"):])
    found = {x["jobname"]: (x["error"], x["write"]["total_ios"] > 0) for x in out["jobs"]}
    with open(os.path.join(work, "status")) as f:
        found["status"] = f.read()
    return found
