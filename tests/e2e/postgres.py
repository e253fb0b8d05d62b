# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL and pgbench, whose transactions are under way when both are taken away and
brought back: with shared memory of System V and with mapped memory, several times, also from
control groups in which they are paused. What the clients were told is in the tables, and nothing else."""
import os
import pwd
import random
import shutil
import subprocess
import time
import jobs
import crtest
import groups
from crtest import Failure

CLIENTS, TRANSACTIONS = 3, 1000
JOB = r"""
set -eu
postgres -D data -c unix_socket_directories="$PWD" -c listen_addresses= -c fsync=off \
	-c shared_memory_type=$1 -c dynamic_shared_memory_type=$2 -c shared_buffers=16MB >log 2>&1 &
server=$!
until pg_isready -q -h "$PWD"; do sleep 0.05; done
pgbench -q -i -h "$PWD" postgres >init 2>&1
: >ready
pgbench -n -h "$PWD" -c $3 -t $4 postgres >bench 2>&1
: >done
wait $server
"""


def binaries():
    base = "/usr/lib/postgresql"
    for version in sorted(os.listdir(base) if os.path.isdir(base) else [], reverse=True):
        folder = os.path.join(base, version, "bin")
        if os.path.exists(os.path.join(folder, "pgbench")):
            return folder
    raise crtest.Skip("PostgreSQL is not installed")


class Server:
    def __init__(self, crcore_path, folder, shared, dynamic):
        self.name = f"{shared}, {dynamic}"
        self.top = os.path.join(crtest.scratch(), shared)
        self.work = os.path.join(self.top, "work")
        self.user = pwd.getpwnam("postgres")
        os.makedirs(self.work)
        os.chown(self.work, self.user.pw_uid, self.user.pw_gid)
        self.env = {"PATH": folder + ":/usr/bin:/bin", "LC_ALL": "C", "HOME": self.work}
        self.crcore = crtest.Crcore(crcore_path, self.top)
        self.run("initdb", "-N", "-A", "trust", "--no-instructions", "-D", "data")
        self.start = time.monotonic()
        self.target = crtest.Target(self.as_user("sh", "-c", JOB, "job", shared, dynamic,
                                                 str(CLIENTS), str(TRANSACTIONS)),
                                    self.work, env=self.env, cwd=self.work)

    def as_user(self, *argv):
        return ["setpriv", "--reuid", str(self.user.pw_uid), "--regid", str(self.user.pw_gid),
                "--clear-groups", *argv]

    def run(self, *argv):
        p = subprocess.run(self.as_user(*argv), env=self.env, cwd=self.work, text=True,
                           capture_output=True, timeout=crtest.LIMIT)
        if p.returncode:
            raise Failure(f"{' '.join(argv)}: status {p.returncode}\n{p.stdout}{p.stderr}")
        return p.stdout

    def sql(self, text):
        return self.run("psql", "-X", "-At", "-h", self.work, "-c", text, "postgres").strip()

    def there(self, name):
        if not os.path.exists(os.path.join(self.work, name)) and not crtest.start_time(self.target.pid):
            raise Failure(f"{self.name}: the job ended\n" + "".join(
                self.target.read(x)[-2000:] for x in ("log", "init", "bench", "stderr")))
        return os.path.exists(os.path.join(self.work, name))

    def history(self):
        """Transactions that are done; asked by a client that is gone again afterwards."""
        return int(self.sql("select count(*) from pgbench_history"))

    def move(self, i, rng):
        """False: the clients were done before."""
        want = self.history() + rng.randrange(20, 200)
        while self.history() < want:
            if self.there("done"):
                return False
        self.wait_alone()
        image = os.path.join(self.top, f"image-{i}")

        def away_and_back():
            self.crcore.dump(self.target.pid, image)
            if i == 0:
                self.target.killed()
            crtest.wait_gone(self.target.pid)
            if self.crcore.restore_detached(image) != self.target.pid:
                raise Failure("another pid")

        if i == 0:
            away_and_back()
        else:
            groups.while_paused(self.target.pid, (groups.V1, groups.V2)[i % 2], away_and_back)
        shutil.rmtree(image)
        return not self.there("done")

    def wait_alone(self):
        """The server process of our own client ends a little after it."""
        crtest.wait_for("the end of our connection", crtest.LIMIT,
                        lambda: self.backends() <= CLIENTS)

    def backends(self):
        n = 0
        for pid in crtest.snapshot.tree(self.target.pid):
            n += b"[local]" in crtest.snapshot.read(f"/proc/{pid}/cmdline")
        return n

    def verify(self):
        bench = self.target.read("bench")
        total = CLIENTS * TRANSACTIONS
        if f"transactions actually processed: {total}/{total}" not in bench:
            raise Failure(f"{self.name}: pgbench says\n{bench}\n{self.target.read('log')[-3000:]}")
        rows = self.sql("select count(*), sum(delta), (select sum(abalance) from pgbench_accounts), "
                        "(select sum(tbalance) from pgbench_tellers), "
                        "(select sum(bbalance) from pgbench_branches) from pgbench_history").split("|")
        if int(rows[0]) != total or len(set(rows[1:])) != 1:
            raise Failure(f"{self.name}: the tables do not agree: {rows}")
        self.run("pgbench", "-n", "-h", self.work, "-t", "20", "postgres")

    def stop(self):
        self.run("pg_ctl", "-D", "data", "-m", "fast", "-w", "stop")
        crtest.wait_gone(self.target.pid)
        if len(open("/proc/sysvipc/shm").readlines()) > 1:
            raise Failure("the server left shared memory behind")


def one(crcore_path, folder, shared, dynamic):
    s = Server(crcore_path, folder, shared, dynamic)
    rng = random.Random(int(os.environ.get("CRCORE_TEST_SEED", "1")))
    crtest.wait_for("the tables", crtest.LIMIT, lambda: s.there("ready"))
    moves = 0
    while moves < 3 and s.move(moves, rng):
        moves += 1
    crtest.wait_for("the clients", crtest.LIMIT, lambda: s.there("done"))
    s.verify()
    s.stop()
    if not moves:
        raise Failure(f"{s.name}: the clients were too fast")
    print(f"shared memory {s.name}: {CLIENTS * TRANSACTIONS} transactions, moved {moves} times, "
          f"{time.monotonic() - s.start:.1f} s", flush=True)


def test(crcore_path):
    folder = binaries()
    one(crcore_path, folder, "sysv", "sysv")
    one(crcore_path, folder, "mmap", "posix")


jobs.run(test)
