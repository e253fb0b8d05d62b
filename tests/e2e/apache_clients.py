# SPDX-License-Identifier: Apache-2.0
"""Apache, a process for each connection (prefork) and threads (event), with downloads over
connections that are kept alive by clients outside, who never notice that it is dumped and
restored. Its children run as www-data."""
import os
import jobs
import crtest
from servers import Download, Server, free_port, rounds

PROGRAM, MODULES = "/usr/sbin/apache2", "/usr/lib/apache2/modules"
CONF = """
ServerRoot {work}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {work}/pid
ErrorLog {work}/error
DefaultRuntimeDir {work}
LoadModule mpm_{mpm}_module {modules}/mod_mpm_{mpm}.so
LoadModule authz_core_module {modules}/mod_authz_core.so
StartServers 2
MaxKeepAliveRequests 0
KeepAliveTimeout 60
User www-data
Group www-data
DocumentRoot {work}/root
"""


def one(crcore_path, mpm):
    work, port = os.path.join(crtest.scratch(), mpm, "work"), free_port()
    os.makedirs(os.path.join(work, "root"))
    Download.make_large(os.path.join(work, "root"))
    with open(os.path.join(work, "conf"), "w") as f:
        f.write(CONF.format(work=work, port=port, mpm=mpm, modules=MODULES))
    server = Server(crcore_path, mpm, [PROGRAM, "-DFOREGROUND", "-f", os.path.join(work, "conf")],
                    port, work)
    clients = [Download(port, i) for i in range(3)]
    rounds(server, clients)
    server.end()
    print(f"Apache, {mpm}: {sum(c.done for c in clients) * Download.SIZE >> 20} MiB downloaded", flush=True)


def test(crcore_path):
    if not os.path.exists(PROGRAM):
        raise crtest.Skip("Apache is not installed")
    os.chmod(crtest.scratch(), 0o755)
    one(crcore_path, "prefork")
    one(crcore_path, "event")


jobs.run(test)
