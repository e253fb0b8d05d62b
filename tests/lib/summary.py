# SPDX-License-Identifier: Apache-2.0
"""summary.py FAILED_BUILDS LOG...: adds up the logs of meson test. Says why each test
that was skipped was skipped, which failed, and ends with the line of counts."""
import json
import os
import sys

PASSED = ("OK", "EXPECTEDFAIL")


def reason(test):
    """The last line of a test's output that says why it was skipped."""
    lines = (test.get("stdout", "") + "\n" + test.get("stderr", "")).splitlines()
    for line in reversed(lines):
        if "skip" in line.lower():
            return line.strip()
    return "no reason given"


def main():
    failed_builds = int(sys.argv[1])
    counts = {"passed": 0, "failed": failed_builds, "skipped": 0}
    for path in sys.argv[2:]:
        if not os.path.exists(path):
            continue
        build = os.path.basename(path).removesuffix(".json")
        with open(path, errors="replace") as f:
            tests = [json.loads(line) for line in f if line.strip()]
        for test in tests:
            name = f"{build}: {test['name']}"
            if test["result"] in PASSED:
                counts["passed"] += 1
            elif test["result"] == "SKIP":
                counts["skipped"] += 1
                print(f"skipped: {name}: {reason(test)}")
            else:
                counts["failed"] += 1
                print(f"failed: {name}: {test['result']}")
    if failed_builds:
        print(f"failed: {failed_builds} of the builds")
    if not counts["passed"] and not counts["failed"]:
        print("failed: no test has run")
        counts["failed"] = 1
    print(", ".join(f"{n} {what}" for what, n in counts.items()))
    sys.exit(1 if counts["failed"] else 0)


main()
