# SPDX-License-Identifier: Apache-2.0
"""sockets_job.py OUTPUT ROUNDS: processes that talk through UNIX sockets all the time; the
result is the same however often they are interrupted, unless a byte is lost or doubled.

An asyncio server on a path with six connections from another process that streams into them
as fast as it can, and multiprocessing workers at the ends of socket pairs."""
import asyncio
import hashlib
import multiprocessing
import random
import sys

CLIENTS, WORKERS = 6, 3
PATH = "server.sock"


async def serve(reader, writer):
    """Answers each block by a running hash of all that came through this connection."""
    total = hashlib.sha256()
    try:
        while True:
            length = int.from_bytes(await reader.readexactly(4), "big")
            total.update(await reader.readexactly(length))
            writer.write(total.digest())
            await writer.drain()
    except asyncio.IncompleteReadError as e:
        if e.partial:
            raise
    writer.close()


async def client(number, rounds):
    rng, total = random.Random(number), hashlib.sha256()
    reader, writer = await asyncio.open_unix_connection(PATH)
    expected = []

    async def listen():
        for i in range(rounds):
            answer = await reader.readexactly(32)
            while len(expected) <= i:
                await asyncio.sleep(0)
            if answer != expected[i]:
                raise SystemExit(f"client {number}: round {i} differs")

    listener = asyncio.ensure_future(listen())
    for _ in range(rounds):
        block = rng.randbytes(rng.randrange(1, 60000))
        total.update(block)
        expected.append(total.digest())
        writer.write(len(block).to_bytes(4, "big") + block)
        await writer.drain()
    await listener
    writer.close()
    return total.hexdigest()


def clients(connection, rounds):
    async def run():
        return await asyncio.gather(*(client(n, rounds) for n in range(CLIENTS)))

    connection.send(asyncio.run(run()))


def worker(connection):
    total = hashlib.sha256()
    while (block := connection.recv_bytes()) != b"end":
        total.update(block)
        connection.send_bytes(total.digest())
    connection.send(total.hexdigest())


def spawn(context, target, *args):
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *args))
    process.start()
    theirs.close()
    return ours, process


def feed(ours, number, rounds):
    rng, total = random.Random(100 + number), hashlib.sha256()
    for i in range(rounds):
        block = rng.randbytes(rng.randrange(1, 100000))
        total.update(block)
        ours.send_bytes(block)
        if ours.recv_bytes() != total.digest():
            raise SystemExit(f"worker {number}: round {i} differs")
    ours.send_bytes(b"end")
    return ours.recv()


async def main():
    output, rounds = sys.argv[1], int(sys.argv[2])
    context = multiprocessing.get_context("fork")
    workers = [spawn(context, worker) for _ in range(WORKERS)]
    server = await asyncio.start_unix_server(serve, PATH)
    ours, streaming = spawn(context, clients, rounds)
    loop = asyncio.get_running_loop()
    results = await asyncio.gather(
        loop.run_in_executor(None, ours.recv),
        *(loop.run_in_executor(None, feed, w[0], n, rounds) for n, w in enumerate(workers)))
    server.close()
    for _, process in [*workers, (ours, streaming)]:
        process.join()
        if process.exitcode:
            sys.exit(f"a process ended with {process.exitcode}")
    with open(output, "w") as f:
        print(*results, "complete", sep="\n", file=f)


asyncio.run(main())
