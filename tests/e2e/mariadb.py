# SPDX-License-Identifier: Apache-2.0
"""MariaDB, as the user that its package makes, with clients outside that never notice that it is
dumped and restored: one in the middle of a transaction, with a prepared statement, a lock and a
temporary table, and some that write all the time. It reads and writes its pages with io_uring, as
it does by default, and has so little memory that it does so all the time."""
import os
import re
import shutil
import subprocess
import jobs
import crtest
from crtest import Failure
from servers import ROUNDS, Client, Server, Session, as_user, free_port, rounds


def session(port):
    return Session(["mariadb", "--no-defaults", "--protocol=tcp", "-h", "127.0.0.1", "-P", str(port),
                    "-u", "root", "-NBn", "--disable-reconnect", "test"], "select 'done';")


def completed(pid):
    """How many requests of its io_uring were completed since that was made."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        if os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:[io_uring]":
            break
    else:
        raise Failure("MariaDB does not use io_uring")
    while True:  # nothing is told while somebody submits requests
        with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as f:
            found = re.search(r"CqTail:\t(\d+)", f.read())
        if found:
            return int(found[1])


class Writer(Client):
    def begin(self):
        self.session = session(self.port)

    def work(self):
        got = self.session.say(f"insert into w values ({self.number}, {self.done}, repeat('x', 3000));")
        if got:
            raise Failure(got)

    def finish(self):
        self.session.expect(f"select count(*), count(distinct i) from w where n = {self.number};",
                            f"{self.done}\t{self.done}\n")
        self.session.end()


class Watched(Server):
    """A round ends the transaction that was open in it, and begins the next."""

    def begin(self, a, b):
        self.a, self.b = a, b
        b.say("create table t (n int) engine=innodb; create table w (n int, i int, filler text);")
        a.say("prepare put from 'insert into t values (?)'; set @n = 7; "
              "create temporary table mine (n int); insert into mine values (4711);")
        a.expect("select get_lock('ours', 0);", "1\n")

    def round(self, i):
        self.a.say("begin; execute put using @n;")
        before = completed(self.pid)
        super().round(i)
        crtest.wait_for("MariaDB to write", crtest.LIMIT, lambda: completed(self.pid) > before)
        self.b.expect("select count(*) from t;", f"{2 * i}\n")
        self.b.expect("select get_lock('ours', 0);", "0\n")
        self.a.expect("execute put using @n; commit; select n from mine;", "4711\n")
        self.b.expect("select count(*) from t;", f"{2 * i + 2}\n")


def test(crcore_path):
    program = shutil.which("mariadbd", path="/usr/sbin:/usr/bin")
    if not program or not shutil.which("mariadb"):
        raise crtest.Skip("MariaDB is not installed")
    work, port = os.path.join(crtest.scratch(), "mariadb", "work"), free_port()
    user, data = as_user("mysql", work), f"--datadir={work}/data"
    subprocess.run([*user, "mariadb-install-db", "--no-defaults", data, "--skip-name-resolve",
                    "--auth-root-authentication-method=normal"], check=True, cwd=work,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Watched(crcore_path, "mariadb",
                     [*user, program, "--no-defaults", data, f"--socket={work}/socket",
                      "--bind-address=127.0.0.1", f"--port={port}", f"--pid-file={work}/pid",
                      "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=6M",
                      "--innodb-max-dirty-pages-pct=0", "--innodb-max-dirty-pages-pct-lwm=0"], port, work)
    a, b = session(port), session(port)
    server.begin(a, b)
    writers = [Writer(port, i) for i in range(3)]
    rounds(server, writers)
    requests = completed(server.pid)
    a.end()
    b.end()
    server.end()
    print(f"{ROUNDS} transactions over a dump, {sum(w.done for w in writers)} rows meanwhile, "
          f"{requests} requests in its io_uring")


jobs.run(test)
