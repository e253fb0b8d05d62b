# SPDX-License-Identifier: Apache-2.0
"""The end of ./test, from the logs of meson test.

summary.py again LOG        the names of the tests that failed, if they are few enough to be
                            run once more
summary.py sum N LOG...     adds up; N builds failed

A log NAME.again.json holds the tests of NAME.json that failed, run once more by themselves.
Says why a test was skipped, what a failed one printed, and ends with the line of counts. One
that passed the second time counts as passed, but is shown as unsteady with what it printed the
first time: that is a defect of the test or, worse, of crcore, and somebody has to look."""
import json
import os
import sys

PASSED = ("OK", "EXPECTEDFAIL")
MAX_AGAIN = 3  # where more fail, it is no accident
MAX_LINES = 30


def read(path):
    """The tests of a log, by name."""
    if not os.path.exists(path):
        return {}
    with open(path, errors="replace") as f:
        tests = [json.loads(line) for line in f if line.strip()]
    return {test["name"].split(" / ")[-1]: test for test in tests}


def to_repeat(tests):
    ret = [x for x, test in tests.items() if test["result"] not in (*PASSED, "SKIP")]
    return ret if len(ret) <= MAX_AGAIN else []


def output(test):
    return (test.get("stdout", "") + "\n" + test.get("stderr", "")).strip().splitlines()


def reason(test):
    """The last line of a test's output that says why it was skipped."""
    for line in reversed(output(test)):
        if "skip" in line.lower():
            return line.strip()
    return "no reason given"


def show(what, name, test):
    print(f"{what}: {name}: {test['result']}, after {test['duration']:.1f} s")
    for line in output(test)[-MAX_LINES:]:
        print(f"  | {line[:300]}")


def add_up(failed_builds, paths):
    counts = {"passed": 0, "failed": failed_builds, "skipped": 0}
    unsteady = 0
    for path in paths:
        if path.endswith(".again.json"):
            continue
        build = os.path.basename(path).removesuffix(".json")
        tests, again = read(path), read(path.removesuffix("json") + "again.json")
        for name, test in tests.items():
            result = test["result"]
            if result == "SKIP":
                counts["skipped"] += 1
                print(f"skipped: {build}: {name}: {reason(test)}")
            elif result in PASSED:
                counts["passed"] += 1
            elif again.get(name, test)["result"] in PASSED:
                unsteady += 1
                counts["passed"] += 1
                show("unsteady", f"{build}: {name}", test)
            else:
                counts["failed"] += 1
                show("failed", f"{build}: {name}", test)
    if failed_builds:
        print(f"failed: {failed_builds} of the builds")
    if not counts["passed"] and not counts["failed"]:
        print("failed: no test has run")
        counts["failed"] = 1
    if unsteady:
        print(f"unsteady: {unsteady} passed only when run once more, by themselves")
    print(", ".join(f"{n} {what}" for what, n in counts.items()))
    return 1 if counts["failed"] else 0


if sys.argv[1] == "again":
    print("\n".join(to_repeat(read(sys.argv[2]))))
else:
    sys.exit(add_up(int(sys.argv[2]), sys.argv[3:]))
