# SPDX-License-Identifier: Apache-2.0
"""sqlite3 in the middle of a transaction, in each journal mode: it holds locks, a journal
or a shared index of its log, and pages that nobody else may see."""
import os
import subprocess
import jobs
import crtest
from crtest import Failure

SQL = """
PRAGMA journal_mode={mode};
PRAGMA cache_size=50;
CREATE TABLE t(n INTEGER PRIMARY KEY, v TEXT);
WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<2000)
  INSERT INTO t SELECT n, hex(zeroblob(100)) FROM c;
BEGIN IMMEDIATE;
UPDATE t SET v = 'first' || n WHERE n % 3 = 0;
.shell touch ready; while [ ! -e go ]; do sleep 0.01; done
UPDATE t SET v = 'second' || n WHERE n % 5 = 0;
{end};
INSERT INTO t VALUES(5000, 'after');
"""


def ask(db, sql):
    return subprocess.run(["sqlite3", db, sql], check=True, capture_output=True, text=True,
                          timeout=60).stdout.strip()


def one(crcore, top, mode, end):
    work = os.path.join(top, f"{mode}-{end.lower()}")
    os.mkdir(work)
    with open(os.path.join(work, "script"), "w") as f:
        f.write(SQL.format(mode=mode, end=end))
    t = crtest.Target(["sqlite3", "-batch", "db", ".read script"], work, cwd=work)
    crtest.wait_for("the transaction", crtest.LIMIT, lambda: os.path.exists(t.path("ready")))
    image = os.path.join(top, f"image-{mode}-{end.lower()}")
    crcore.dump(t.pid, image)
    t.killed()
    crcore.restore_detached(image)
    rc = subprocess.run(["sqlite3", t.path("db"), "PRAGMA busy_timeout=0; INSERT INTO t VALUES(9999, 'x')"],
                        capture_output=True, text=True, timeout=60)
    if "locked" not in rc.stderr and mode != "memory":
        raise Failure(f"{mode}: the restored transaction does not keep others out: {rc.stderr}")
    open(t.path("go"), "w").close()
    crtest.wait_gone(t.pid)
    want = {"COMMIT": "667|266|1", "ROLLBACK": "0|0|1"}[end]
    want = "533|400|1" if end == "COMMIT" else want
    got = ask(t.path("db"), "SELECT sum(v LIKE 'first%'), sum(v LIKE 'second%'), sum(v='after') FROM t")
    sound = ask(t.path("db"), "PRAGMA integrity_check")
    if got != want or sound != "ok" or t.read("stderr"):
        raise Failure(f"{mode} {end}: {got} instead of {want}, {sound}\n{t.read('stderr')}")
    print(f"{mode} {end}: passed", flush=True)


def main(crcore_path):
    crtest.need("sqlite3")
    top = crtest.scratch()
    crcore = crtest.Crcore(crcore_path, top)
    for mode in ("delete", "truncate", "persist", "memory", "wal"):
        one(crcore, top, mode, "COMMIT")
    one(crcore, top, "off", "COMMIT")
    one(crcore, top, "delete", "ROLLBACK")
    one(crcore, top, "wal", "ROLLBACK")


jobs.run(main)
