"""What answers that are said again cost, and save, beside the same gateway without.

A miss is a chat whose question nobody has asked before, at a gateway with a cache, and
a key is one that is shown for the first time; the difference to a plain chat is what
each costs. A hit is the same question again.
"""

import json
import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil

from bench import servers
from bench.load import run

SECONDS = 4.0
CONNECTIONS = 8
CHAT = "/operator/api/chat"


def requests(token: str, *, is_new: bool, has_key: bool) -> Iterator[bytes]:
    """Requests without an end: with a question, or a key, that is new each time."""
    for number in count():
        words = f"What is the state of system {number if is_new else 0:09}?"
        body = json.dumps({"message": words})
        key = f"Idempotency-Key: bench-{number:09}\r\n" if has_key else ""
        yield (
            f"POST {CHAT} HTTP/1.1\r\nHost: bench\r\nX-VX11-Token: {token}\r\n{key}"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def table(folder: Path, upstream: int) -> None:
    """Print a row for each kind; the gateway's own CPU time is what is compared."""
    psutil.Process().cpu_affinity([servers.OTHER_CORE])  # the load comes from here
    try:
        _rows(folder, upstream)
    finally:
        psutil.Process().cpu_affinity([])


def _rows(folder: Path, upstream: int) -> None:
    print(f"\n{'kept':<16} {'chats/s':>10} {'CPU us each':>12} {'p50 ms':>9}")
    plain = _row(folder, upstream, "plain", "0", is_new=True, has_key=False)
    miss = _row(folder, upstream, "cache, miss", "3600", is_new=True, has_key=False)
    hit = _row(folder, upstream, "cache, hit", "3600", is_new=False, has_key=False)
    key = _row(folder, upstream, "key, first", "0", is_new=True, has_key=True)
    print(
        f"A miss costs {miss[1] - plain[1]:.0f} us (200 are allowed), a key"
        f" {key[1] - plain[1]:.0f} us (250); a hit is {hit[0] / plain[0]:.2f} times the"
        " chats per second of an instant upstream (1.5 are wanted)."
    )


def _row(
    folder: Path, upstream: int, name: str, ttl: str, *, is_new: bool, has_key: bool
) -> tuple[float, float]:
    with servers.gateway(
        folder,
        upstream,
        workers=1,
        threads=64,
        core=servers.GATEWAY_CORE,
        VX11_CACHE_TTL=ttl,
    ) as (port, process):
        asked = requests(servers.TOKEN, is_new=is_new, has_key=has_key)
        with socket.create_connection(("127.0.0.1", port)) as first:
            first.sendall(next(asked))
            first.recv(65536)  # the worker has booted
        before = servers.cpu_seconds(process)
        result = run(port, asked, CONNECTIONS, SECONDS)
        used = servers.cpu_seconds(process) - before
    # The load warms up for a third, which is in the CPU time as well.
    each = used / (result.rate * (SECONDS + min(2.0, SECONDS / 3)))
    rate, p50 = result.rate, result.p50 * 1000
    print(f"{name:<16} {rate:>10.0f} {each * 1e6:>12.0f} {p50:>9.2f}")
    return rate, each * 1e6
