# SPDX-License-Identifier: Apache-2.0
"""sshd with clients outside that never notice that it, its sessions and what runs in them are
dumped and restored: bytes that go to a cat and come back, and files that come by sftp. The
sessions are those of a user, so sshd does its part of them in processes without privileges."""
import os
import random
import shutil
import subprocess
import jobs
import crtest
from crtest import Failure
from servers import Client, Server, Session, free_port, rounds

USER, UID = "crcore-test", 7411
CONF = """
ListenAddress 127.0.0.1:{port}
HostKey {work}/host
AuthorizedKeysFile {work}/user.pub
PidFile none
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
"""


def ssh_options(work):
    return ["-F", "none", "-i", f"{work}/user", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes"]


class Echo(Client):
    """To a cat on the other side, and back."""
    work_folder = None

    def begin(self):
        self.rng = random.Random(self.number)
        self.ssh = subprocess.Popen(
            ["ssh", *ssh_options(self.work_folder), "-p", str(self.port), f"{USER}@127.0.0.1", "cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def work(self):
        block = self.rng.randbytes(50000)  # less than the pipes take
        self.ssh.stdin.write(block)
        self.ssh.stdin.flush()
        if self.ssh.stdout.read(len(block)) != block:
            raise Failure("other bytes came back")

    def finish(self):
        self.ssh.stdin.close()
        if self.ssh.stdout.read() or self.ssh.wait(60):
            raise Failure("it did not end as it should")
        self.ssh.stdout.close()


class Download(Client):
    work_folder = None

    def begin(self):
        self.sftp = Session(["sftp", *ssh_options(self.work_folder), "-P", str(self.port), "-b", "-",
                             f"{USER}@127.0.0.1"], "!echo done")

    def work(self):
        copy = os.path.join(self.work_folder, f"copy-{self.number}")
        self.sftp.say(f"get {self.work_folder}/large {copy}")
        if jobs.sha256(copy) != self.digest:
            raise Failure("another file came")

    def finish(self):
        self.sftp.end()


def make_user(work):
    """One that is seen in the mount namespace of this test only; /run/sshd too."""
    passwd = os.path.join(work, "passwd")
    shutil.copy("/etc/passwd", passwd)
    with open(passwd, "a") as f:
        f.write(f"{USER}:x:{UID}:{UID}::/:/bin/sh\n")
    subprocess.run(["mount", "--bind", passwd, "/etc/passwd"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    os.mkdir("/run/sshd")


def test(crcore_path):
    program = "/usr/sbin/sshd"
    if not os.path.exists(program) or not shutil.which("sftp"):
        raise crtest.Skip("OpenSSH is not installed")
    work, port = os.path.join(crtest.scratch(), "sshd", "work"), free_port()
    os.makedirs(work)
    os.chmod(crtest.scratch(), 0o755)
    make_user(work)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{work}/{key}"], check=True)
    with open(f"{work}/conf", "w") as f:
        f.write(CONF.format(port=port, work=work))
    with open(f"{work}/large", "wb") as f:
        f.write(random.Random(1).randbytes(20 << 20))
    Echo.work_folder = Download.work_folder = work
    Download.digest = jobs.sha256(f"{work}/large")
    server = Server(crcore_path, "sshd", [program, "-D", "-e", "-f", f"{work}/conf"], port, work)
    clients = [Echo(port, 0), Echo(port, 1), Download(port, 2)]
    rounds(server, clients)
    server.end()
    print(f"echoed {sum(c.done for c in clients[:2]) * 50 >> 10} MiB, {clients[2].done} files")


jobs.run(test)
