# SPDX-License-Identifier: Apache-2.0
"""python_job.py OUTPUT ITEMS: a job with threads and a subprocess whose result is
the same whenever and however often it is interrupted, unless something is lost.

Four threads take numbers from a queue and hash; one more sleeps and counts; the main
thread sends every result through the pipes of a subprocess that keeps a running sum,
and writes what comes back to OUTPUT, line by line."""
import hashlib
import queue
import subprocess
import sys
import threading
import time

CHILD = """
import sys
total = 0
for line in sys.stdin:
    total = (total * 31 + int(line, 16)) % (1 << 127)
    print(f"{total:032x}", flush=True)
"""


def work(todo, done):
    while True:
        n = todo.get()
        if n is None:
            return
        data = n.to_bytes(8, "little") * 8192
        for _ in range(60):  # long buffers: the threads really run side by side
            data = hashlib.sha256(data).digest() * 2048
        done.put((n, hashlib.sha256(data).hexdigest()))


def tick(stop, ticks):
    while not stop.wait(0.01):
        ticks.append(time.monotonic())


def main():
    output, items = sys.argv[1], int(sys.argv[2])
    todo, done, stop, ticks = queue.Queue(maxsize=16), queue.Queue(), threading.Event(), []
    workers = [threading.Thread(target=work, args=(todo, done)) for _ in range(4)]
    ticker = threading.Thread(target=tick, args=(stop, ticks))
    feeder = threading.Thread(target=lambda: [todo.put(n) for n in [*range(items), *[None] * 4]])
    for t in (*workers, ticker, feeder):
        t.start()
    child = subprocess.Popen([sys.executable, "-c", CHILD], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    waiting, following = {}, 0
    with open(output, "w", buffering=1) as f:
        while following < items:
            n, digest = done.get(timeout=300)
            waiting[n] = digest
            while following in waiting:
                print(waiting.pop(following), file=child.stdin, flush=True)
                print(following, child.stdout.readline().strip(), file=f)
                following += 1
        child.stdin.close()
        if child.wait(timeout=60) != 0:
            sys.exit("the subprocess failed")
        stop.set()
        for t in (*workers, ticker, feeder):
            t.join()
        if any(b < a for a, b in zip(ticks, ticks[1:])):
            sys.exit("the clock went back")
        print("complete", file=f)


main()
