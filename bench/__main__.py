"""`make bench`: print the whole table. Takes about two minutes."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from bench import kept, servers, streams
from bench.load import Result

SECONDS = float(os.environ.get("BENCH_SECONDS", "6"))
CHAT = "/operator/api/chat"
SWITCH = "/switch/chat"


def load(port: int, path: str, connections: int, seconds: float = SECONDS) -> Result:
    """Run the generator in its own process, beside the upstream."""
    command = [sys.executable, "-m", "bench.load"]
    command += [str(port), path, servers.TOKEN, str(connections), str(seconds)]
    process = subprocess.Popen(
        command, cwd=servers.HOUSE, stdout=subprocess.PIPE, text=True
    )
    psutil.Process(process.pid).cpu_affinity([servers.OTHER_CORE])
    out, _ = process.communicate()
    return Result(**json.loads(out))


def measure(name: str, port: int, path: str, process: psutil.Process) -> list[Result]:
    """Measure at 1, 32 and 256 connections and print a line for each."""
    results = []
    for connections in (1, 32, 256):
        before = servers.cpu_seconds(process)
        result = load(port, path, connections)
        used = servers.cpu_seconds(process) - before
        # Warm-up included on both sides: the generator warms up for a third.
        chats = result.rate * (SECONDS + min(2.0, SECONDS / 3))
        print(
            f"{name:<10} {connections:>5} {result.rate:>10.0f} {chats / used:>12.0f}"
            f" {result.p50 * 1000:>9.2f} {result.p99 * 1000:>9.2f} {result.errors:>7}"
        )
        results.append(result)
    return results


def in_flight(folder: Path) -> None:
    """1,000 chats at once on two workers, against an upstream that takes 2 s."""
    port = servers.free_port()
    command = [sys.executable, "-m", "bench.servers", str(port), "2"]
    with servers.running(command, None, None):
        servers.wait_for(port)
        with servers.gateway(folder, port, workers=2, threads=512, core=None) as (
            gateway_port,
            process,
        ):
            result = load(gateway_port, CHAT, 1000, 10)
            memory = servers.megabytes_per_worker(process)
    print(
        f"\n1,000 in flight, 2 workers, upstream 2 s: {result.rate:.0f} chats/s,"
        f" p50 {result.p50:.2f} s, p99 {result.p99:.2f} s, {result.errors} errors,"
        f" {memory:.0f} MB per worker"
    )


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder on a real disk, which /tmp often is not."""
    servers.SCRATCH.mkdir(exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="bench-", dir=servers.SCRATCH)


def main() -> None:
    """Measure bare upstream, plain nginx proxy and gateway in one run."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(scratch()))
        constant = servers.CONSTANT.format(reply=servers.REPLY)
        bare, bare_process = stack.enter_context(
            servers.nginx(folder, "bare", constant, 1, servers.OTHER_CORE)
        )
        proxy, proxy_process = stack.enter_context(
            servers.nginx(folder, "proxy", servers.PROXY, bare, servers.GATEWAY_CORE)
        )
        simple, simple_process = stack.enter_context(
            servers.plain(folder, bare, threads=320, core=servers.GATEWAY_CORE)
        )
        ours, our_process = stack.enter_context(
            servers.gateway(
                folder, bare, workers=1, threads=320, core=servers.GATEWAY_CORE
            )
        )
        print("One core for what is measured; generator and upstream on another.")
        print("Audit on disk with synchronous=FULL, every safeguard on.")
        print("flask answers by itself; +session asks by requests, unguarded.\n")
        print(
            f"{'':<10} {'conn.':>5} {'chats/s':>10} {'per CPU-s':>12}"
            f" {'p50 ms':>9} {'p99 ms':>9} {'errors':>7}"
        )
        base = measure("upstream", bare, SWITCH, bare_process)
        through = measure("nginx", proxy, SWITCH, proxy_process)
        flask = measure("flask", simple, "/flask", simple_process)
        session = measure("+session", simple, "/session", simple_process)
        gateway = measure("gateway", ours, CHAT, our_process)
        memory = servers.megabytes_per_worker(our_process)
        kept.table(folder, bare)
    print(
        f"\nAdded at 1 connection: p50 {(gateway[0].p50 - base[0].p50) * 1000:.2f} ms,"
        f" p99 {(gateway[0].p99 - base[0].p99) * 1000:.2f} ms"
        f" (nginx: {(through[0].p50 - base[0].p50) * 1000:.2f} ms,"
        f" +session: {(session[0].p50 - base[0].p50) * 1000:.2f} ms)."
        f" Memory per worker: {memory:.0f} MB."
        f"\nAt 32 connections: {gateway[1].rate / flask[1].rate:.2f} of flask,"
        f" {gateway[1].rate / session[1].rate:.2f} of +session."
    )
    with scratch() as folder_name:
        in_flight(Path(folder_name))
        streams.table(Path(folder_name))


main()
