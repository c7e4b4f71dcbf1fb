"""Measure how the records grow, and how long it takes to erase and prune them.

    python -m bench.retention [ROWS] [--folder DIR]

Rows of about 1.2 KB of words are written as the gateway writes them, then their words
are erased, then they are pruned, each without the pauses that chats would be given.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from time import perf_counter, process_time, time

from app.gateway.records.audit import Closing, Intent, new_audit_id
from app.storage.audit.rows import closed, closed_draft, opened
from app.storage.chain.retention import Keep
from app.storage.sqlite.backend import SqliteBackend
from app.storage.sqlite.files import AuditFiles
from app.storage.sqlite.retention.covering import CoveringPruner, FileCommit
from app.storage.sqlite.store import SqliteStore

KEY = b"a key of a measurement"
BATCH = 500
DAY = 86400.0
SENTENCE = "the gateway says who answered and why it was not the first choice"
WORDS = tuple(SENTENCE.split())


def main() -> None:
    """Write, erase, prune, and say what each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "audit.db"
        backend = SqliteBackend(f"sqlite:///{path}", KEY)
        backend.trail().close()
        store = SqliteStore(AuditFiles(path), KEY)
        store.open()
        _told("written", given.rows, path, lambda: _write(store, given.rows))
        now = time()
        for word, keep in (("erased", Keep(words=DAY)), ("pruned", Keep(records=DAY))):
            pruner = CoveringPruner(keep, path, store.instance, wall=lambda: now)
            _told(word, given.rows, path, lambda p=pruner: _run(p, store.commit))
        store.close()
        began = perf_counter()
        assert backend.verify().ok
        print(f"checked: {perf_counter() - began:.1f} s")


def _told(
    word: str, rows: int, path: Path, work: Callable[[], Iterator[float]]
) -> None:
    began, cpu = perf_counter(), process_time()
    times = sorted(work())
    took, cpu = perf_counter() - began, process_time() - cpu
    print(
        f"{word}: {rows} rows in {took:.1f} s ({cpu:.1f} s of CPU), "
        f"{len(times)} batches, p50 {times[len(times) // 2] * 1e3:.1f} ms, "
        f"p99 {times[int(len(times) * 0.99)] * 1e3:.1f} ms, "
        f"file {path.stat().st_size / 1e6:.0f} MB",
        flush=True,
    )


def _write(store: SqliteStore, rows: int) -> Iterator[float]:
    random, begin = Random(1), time() - 40 * DAY
    for first in range(0, rows, BATCH):
        drafts = [
            closed_draft(*_chat(random, begin + (first + n) * 30 * DAY / rows))
            for n in range(min(BATCH, rows - first))
        ]
        began = perf_counter()
        store.write(lambda drafts=drafts: drafts)
        store.maintain()
        yield perf_counter() - began


def _chat(random: Random, at: float) -> tuple[tuple[object, ...], tuple[object, ...]]:
    said = [" ".join(random.choices(WORDS, k=90)) for _ in range(2)]
    intent = Intent(
        new_audit_id(at),
        f"c-{random.getrandbits(64):x}",
        f"s-{random.getrandbits(20):x}",
        f"caller-{random.randrange(8)}",
        "chat",
        at,
        json.dumps({"messages": [["user", said[0]]], "context": {}, "metadata": {}}),
    )
    reply = json.dumps({"text": said[1]})
    closing = Closing("completed", 200, 0.4, at + 0.4, provider="switch", reply=reply)
    return opened(intent, "bench"), closed(closing)


def _run(pruner: CoveringPruner, commit: FileCommit) -> Iterator[float]:
    pause = 0.0
    while pause < 60.0:
        began = perf_counter()
        pause = pruner.turn(commit, is_idle=True)
        yield perf_counter() - began


if __name__ == "__main__":
    main()
