"""300 streams at once, 10 words a second each, through one worker.

The upstream and the callers share a process on the other core: each word carries the
moment when it was sent, so a delay is read off where it arrives. The same callers
ask the upstream directly first; what the gateway adds is the difference.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from app.gateway.records.content import TIMELINE, to_json
from app.gateway.replay.timeline import Timeline
from bench import servers

STREAMS = int(os.environ.get("BENCH_STREAMS", "300"))
WORDS, PAUSE = 100, 0.1  # seconds between two words
PATH = "/v1/chat/completions"
LIMIT = 60.0  # seconds until a stream that does not end counts as incomplete

_WORD = re.compile(rb'"content":\s*"w(\d+) "')


@dataclass(frozen=True)
class Delays:
    """Seconds from the sending of a word to its arrival, over all streams."""

    complete: int
    words: int
    p50: float
    p99: float
    worst: float


def _chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    body = {
        "id": "bench",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "bench",
        "choices": [choice],
    }
    return _framed(f"data: {json.dumps(body)}\n\n".encode())


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream's side of a connection: health, or WORDS words at their pace."""
    quiet = (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError)
    with contextlib.suppress(*quiet):
        while head := await reader.readuntil(b"\r\n\r\n"):
            if not head.startswith(b"POST"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                continue
            length = head.lower().partition(b"content-length:")[2]
            await reader.readexactly(int(length.split(b"\r\n")[0]))
            await _say_words(writer)
    writer.close()


async def _say_words(writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    due = time.monotonic() + random.uniform(0, PAUSE)
    for _ in range(WORDS):
        await asyncio.sleep(due - time.monotonic())
        due += PAUSE
        writer.write(_chunk({"content": f"w{time.monotonic_ns()} "}))
    end = _chunk({}, "stop") + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    writer.write(end)
    await writer.drain()


async def listen(port: int, token: str) -> list[float] | None:
    """One caller; the delays of its words, or None if its stream is not whole."""
    body = json.dumps(
        {
            "model": "bench",
            "messages": [{"role": "user", "content": "Speak."}],
            "stream": True,
        }
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST {PATH} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    delays: list[float] = []
    buffer = b""
    while b"[DONE]" not in buffer and (data := await reader.read(65536)):
        now = time.monotonic_ns()
        buffer += data
        words = list(_WORD.finditer(buffer))
        delays += [(now - int(word[1])) / 1e9 for word in words]
        buffer = buffer[words[-1].end() :] if words else buffer
    writer.close()
    return delays if b"[DONE]" in buffer and len(delays) == WORDS else None


async def _listen_later(port: int, token: str) -> list[float] | None:
    await asyncio.sleep(random.uniform(0, 2))  # nobody starts 300 streams at once
    with contextlib.suppress(OSError, TimeoutError):
        return await asyncio.wait_for(listen(port, token), LIMIT)
    return None


async def run(upstream: int, asked: int, token: str) -> Delays:
    """Speak on one port, and listen on the same or on the gateway's."""
    server = await asyncio.start_server(speak, "127.0.0.1", upstream, backlog=2048)
    async with server:
        await asyncio.sleep(2)  # the gateway finds its upstream healthy
        heard = await asyncio.gather(
            *(_listen_later(asked, token) for _ in range(STREAMS))
        )
    whole = [delays for delays in heard if delays is not None]
    delays = sorted(delay for one in whole for delay in one) or [0.0]
    return Delays(
        complete=len(whole),
        words=len(delays),
        p50=delays[len(delays) // 2],
        p99=delays[int(len(delays) * 0.99)],
        worst=delays[-1],
    )


def measure(upstream: int, asked: int) -> Delays:
    """Run speakers and listeners in a process of their own, on the other core."""
    command = [sys.executable, "-m", "bench.streams"]
    command += [str(upstream), str(asked), servers.TOKEN]
    process = subprocess.Popen(
        command, cwd=servers.HOUSE, stdout=subprocess.PIPE, text=True
    )
    psutil.Process(process.pid).cpu_affinity([servers.OTHER_CORE])
    out, _ = process.communicate()
    return Delays(**json.loads(out))


@contextlib.contextmanager
def _gateway(folder: Path, upstream: int) -> Iterator[tuple[int, psutil.Process]]:
    config = folder / "streams.toml"
    config.write_text(
        f'[[upstreams]]\nname = "bench"\nkind = "openai"\n'
        f'url = "http://127.0.0.1:{upstream}/v1"\n'
    )
    with servers.gateway(
        folder,
        upstream,
        workers=1,
        threads=STREAMS + 64,
        core=servers.GATEWAY_CORE,
        VX11_CONFIG=str(config),
        VX11_STREAM_SLOTS=str(STREAMS),
    ) as running:
        yield running


def table(folder: Path) -> None:
    """Print the table."""
    upstream = servers.free_port()
    straight = measure(upstream, upstream)
    with _gateway(folder, upstream) as (port, process):
        before = servers.cpu_seconds(process)
        through = measure(upstream, port)
        used = servers.cpu_seconds(process) - before
        memory = servers.megabytes_per_worker(process)
    print(f"\n{STREAMS} streams of {1 / PAUSE:.0f} words/s, {WORDS} words each, ms")
    print(f"{'':<10} {'complete':>9} {'p50':>7} {'p99':>7} {'worst':>7}")
    for name, one in (("upstream", straight), ("gateway", through)):
        times = " ".join(f"{t * 1000:>7.1f}" for t in (one.p50, one.p99, one.worst))
        print(f"{name:<10} {one.complete:>9} {times}")
    print(
        f"Added per word: p50 {(through.p50 - straight.p50) * 1000:.1f} ms,"
        f" p99 {(through.p99 - straight.p99) * 1000:.1f} ms."
        f" CPU per word: {used / max(1, through.words) * 1e6:.0f} us."
        f" Memory of the worker: {memory:.0f} MB."
    )
    spent, cost = used / max(1, through.words), timeline_cost()
    print(
        f"timeline: {cost * 1e6:.2f} us per word of a record,"
        f" {cost / spent:.1%} of what the word costs."
    )


def timeline_cost() -> float:
    """Seconds of CPU that a word's place in the record's timeline costs."""
    rounds = 500
    before = time.process_time()
    for _ in range(rounds):
        timeline = Timeline(time.monotonic())
        for _ in range(WORDS):
            timeline.mark()
        timeline.over(["word "] * WORDS)
        to_json({TIMELINE: timeline.steps()})
    return (time.process_time() - before) / rounds / WORDS


if __name__ == "__main__":
    upstream_port, asked_port, shown = sys.argv[1:]
    result = asyncio.run(run(int(upstream_port), int(asked_port), shown))
    print(json.dumps(asdict(result)))
