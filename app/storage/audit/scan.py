"""Scan: a search through all records that reports its progress.

The time between the oldest and the newest record is searched in windows, newest
first, each in short transactions, so that a search through years holds up no
checkpoint of the writers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from app.gateway.records.audit import Query, Record
from app.storage.audit.reader import LIMIT_MAX, AuditReader
from app.storage.chain.links import Head
from app.storage.chain.verification import OnProgress

WINDOWS = 50


def scan(
    reader: AuditReader, query: Query, on_progress: OnProgress
) -> Iterator[Record]:
    """Yield matching records, newest first, `query.limit` of them at most.

    Unlike one search it may find more than 500. Raises AuditUnavailable.
    """
    left, windows = query.limit, list(_windows(reader, query))
    for number, window in enumerate(windows, 1):
        for record in _all_of(reader, window):
            yield record
            left -= 1
            if not left:
                return
        on_progress(number, len(windows))


def whole_chain(
    reader: AuditReader, heads: Sequence[Head], on_progress: OnProgress
) -> Iterator[Record]:
    """Yield every record of each lane up to its head, in the order of the chain.

    Raises AuditUnavailable.
    """
    for head in heads:
        seq = head.floor_seq
        while page := reader.chained(head, seq):
            yield from page
            seq = page[-1].seq or head.seq
            on_progress(seq, head.seq)


def _windows(reader: AuditReader, query: Query) -> Iterator[Query]:
    """The query, cut into parts by time; the first and the last are open-ended."""
    oldest, newest = reader.span()
    begin = oldest if query.since is None else max(oldest, query.since)
    end = newest if query.until is None else min(newest, query.until)
    width = (end - begin) / WINDOWS
    inner = [begin + width * n for n in range(1, WINDOWS)] if width > 0 else []
    edges = [query.until, *reversed(inner), query.since]
    for until, since in pairwise(edges):
        yield replace(query, since=since, until=until)


def _all_of(reader: AuditReader, query: Query) -> Iterator[Record]:
    page = replace(query, limit=min(query.limit, LIMIT_MAX))
    while found := reader.search(page):
        yield from found
        if len(found) < page.limit:
            return
        page = replace(page, before=found[-1].key)
