"""EvidenceReader: reads records without their words, in pages, oldest first."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from app.gateway.evidence.evidence import Anchored, Beat, Evidence
from app.gateway.records.audit import KNOT
from app.gateway.records.events import EVENT
from app.storage.audit.bad_chats import REFUSALS, REFUSED
from app.storage.audit.reader import AuditReader, fetch
from app.storage.audit.schema import chain, records
from app.storage.chain.anchors import parse_head
from app.storage.chain.links import Head

PAGE = 5000
_IS_EVENT = records.c.outcome == EVENT
_IS_KNOT = records.c.route == KNOT
_MADE = {
    "chats": sa.case((REFUSED, REFUSALS), else_=1),
    # Words of chats stay where they are.
    "facts": sa.case((_IS_EVENT, records.c.request)),
}
_EVIDENCE = sa.select(
    *(
        _MADE[name].label(name) if name in _MADE else records.c[name]
        for name in Evidence._fields
    )
)
HEADS = sa.select(
    *(chain.c["id" if name == "lane" else name] for name in Head.__dataclass_fields__)
).order_by(chain.c.id)


class EvidenceReader:
    """Fulfils `EvidenceSource` (see there) in short transactions."""

    def __init__(self, reader: AuditReader) -> None:
        self._engine = reader.engine

    def events(self, since: float, until: float) -> Iterator[Evidence]:
        """See EvidenceSource."""
        return self._pages(_EVIDENCE.where(_IS_EVENT, ~_IS_KNOT), since, until)

    def chats(self, since: float, until: float) -> Iterator[Evidence]:
        """See EvidenceSource."""
        no_event = records.c.outcome.is_distinct_from(EVENT)
        return self._pages(_EVIDENCE.where(no_event), since, until)

    def beats(self, since: float, until: float) -> Iterator[Beat]:
        """See EvidenceSource."""
        at = records.c.opened_at
        query = (
            sa.select(records.c.lane, at)
            .where(_IS_EVENT, _IS_KNOT, at >= since, at < until)
            .order_by(at)
        )
        return iter([Beat(*row) for row in fetch(self._engine, query)])

    def tips(self) -> tuple[str, ...]:
        """See EvidenceSource."""
        return tuple(map(str, self._heads()))

    def anchored(self, head: str) -> Anchored:
        """See EvidenceSource."""
        lane, seq, digest = parse_head(head)
        for known in self._heads():
            if known.lane == lane and seq <= known.floor_seq:
                is_floor = (seq, digest) == (known.floor_seq, known.floor_digest)
                return "there" if is_floor else "pruned"
        query = sa.select(records.c.digest).where(
            records.c.seq == seq, records.c.lane == lane
        )
        found = fetch(self._engine, query)
        return (
            "there" if [bytes(row.digest) for row in found] == [digest] else "missing"
        )

    def _heads(self) -> list[Head]:
        return [Head(*row) for row in fetch(self._engine, HEADS)]

    def _pages(
        self, select: sa.Select[Any], since: float, until: float
    ) -> Iterator[Evidence]:
        at, record_id = records.c.opened_at, records.c.id
        query = select.where(at < until).order_by(at, record_id).limit(PAGE)
        page = self._page(query.where(at >= since))
        while page:
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1]
            behind = sa.tuple_(at, record_id) > sa.tuple_(last.opened_at, last.id)
            page = self._page(query.where(at >= last.opened_at, behind))

    def _page(self, query: sa.Select[Any]) -> list[Evidence]:
        return [Evidence._make(row) for row in fetch(self._engine, query)]
