"""A line with a round trip: passes every connection on to a port of this machine, each byte some
time later, in both directions, and no faster than a line of so many Mbit/s lets them through, if that is
said. `relay.py PORT MILLISECONDS [MEGABITS]` prints the port on which it listens."""

import asyncio
import sys

STEP = 1 << 16


async def pump(reader, writer, delay, rate):
    """What came is sent when its time has come, while more comes in."""
    loop = asyncio.get_running_loop()
    queue = asyncio.Queue(maxsize=256)

    async def send():
        while (due := await queue.get())[1]:
            await asyncio.sleep(max(0, due[0] - loop.time()))
            writer.write(due[1])
            await writer.drain()
        writer.close()

    sender = asyncio.create_task(send())
    data = True
    free = 0
    while data:
        try:
            data = await reader.read(STEP)
        except ConnectionError:
            data = b""
        free = max(free, loop.time()) + len(data) / rate
        await queue.put((free + delay, data))
    await sender


async def relay(port, delay, rate):
    async def connected(reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(pump(reader, far_writer, delay, rate), pump(far_reader, writer, delay, rate))
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    # Half of the round trip each way; bytes in a second.
    megabits = float(sys.argv[3]) if len(sys.argv) > 3 else float("inf")
    asyncio.run(relay(int(sys.argv[1]), float(sys.argv[2]) / 2000, megabits * 125_000))
