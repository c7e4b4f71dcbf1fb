"""An open-loop client: it sends at its rate, whatever becomes of what it has sent.

    python -m tests.system.flood PORT IDLE_PORT TOKEN SECONDS RATE

A closed loop would slow down with the server and hide an overload. Prints one JSON
list [kind, took, status] per request; status 0 is a caller who gave up. The kind
`idle` asks another server that has nothing to do, for what the machine itself takes.
"""

import asyncio
import contextlib
import json
import sys
import time

PATIENCE = 2.0  # seconds until a caller gives up
HIGH = 50  # every so many-th chat is of class high
HEALTH = 20  # both servers are asked for their health so many times a second


def request(kind, token):
    if kind in ("health", "idle"):
        return b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    body = json.dumps({"message": "Hello"})
    return (
        f"POST /operator/api/chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"X-VX11-Token: {token}\r\nX-Gateway-Priority: {kind}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def exchange(port, data):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        answer = await reader.read()
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]) if answer else 0


async def ask(ports, token, kind, results):
    sent_at = time.monotonic()
    status = 0
    talk = exchange(ports[kind == "idle"], request(kind, token))
    with contextlib.suppress(OSError, TimeoutError):
        status = await asyncio.wait_for(talk, PATIENCE)
    results.append([kind, time.monotonic() - sent_at, status])


async def send_all(ports, token, plan):
    """Send what is planned as (moment, kind), each at its moment."""
    begun, results, tasks = time.monotonic(), [], []
    for moment, kind in sorted(plan):
        await asyncio.sleep(max(0.0, begun + moment - time.monotonic()))
        tasks.append(asyncio.create_task(ask(ports, token, kind, results)))
    await asyncio.gather(*tasks)
    return results


def plan(seconds, rate):
    for n in range(int(seconds * rate)):
        yield n / rate, "low" if n % HIGH else "high"
    for n in range(int(seconds * HEALTH)):
        yield n / HEALTH, "health"
        yield (n + 0.5) / HEALTH, "idle"


if __name__ == "__main__":
    port, idle_port, token, seconds, rate = sys.argv[1:]
    ports = int(port), int(idle_port)
    what = plan(float(seconds), float(rate))
    for result in asyncio.run(send_all(ports, token, what)):
        print(json.dumps(result))
