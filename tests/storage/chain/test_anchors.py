"""Anchors: told outside once a minute, whatever becomes of the file for them."""

import logging
import os

import pytest

from app.gateway.records.audit import KNOT, Query
from app.gateway.records.redaction import Redactor
from app.storage.chain.anchors import Anchors, anchors_in, parse_head
from app.storage.chain.knots import EVERY, is_due
from app.storage.chain.links import ClockWatch, Head
from app.storage.sqlite.files import AuditFiles
from app.storage.sqlite.store import SqliteStore
from tests.storage.making import place_of, record_one, until

HEAD = Head(7, b"x" * 32, 1_800_000_000.0)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(trail):
    record_one(trail)
    trail.close()
    clock = Clock()
    clock.now = 2e9  # far behind the beginning of the trail
    return clock


@pytest.fixture
def make_store(path, clock):
    stores = []

    def making():
        store = SqliteStore(AuditFiles(path), watch=ClockWatch(clock, clock))
        store.open()
        stores.append(store)
        return store

    yield making
    for store in stores:
        store.close()


def test_a_lane_gets_one_knot_a_minute_however_many_workers_it_has(
    make_store, clock, backend
):
    stores = [make_store() for _ in range(3)]

    heads = [store.tie() for store in stores]
    clock.now += EVERY - 1
    heads += [store.tie() for store in stores]
    clock.now += 1
    heads += [store.tie() for store in stores]

    told = [head for head in heads if head]
    assert [head.seq for head in told] == [2, 3]
    assert [head.knotted_at for head in told] == [2e9, 2e9 + EVERY]
    check = backend.verify(noted=[place_of(head) for head in told])
    assert (check.ok, check.rows, check.noted) == (True, 3, 2)
    knots = backend.records().chained(check.heads[0], 1)
    assert [(knot.route, knot.code, knot.seq) for knot in knots] == [
        (KNOT, KNOT, 2),
        (KNOT, KNOT, 3),
    ]


def test_knots_are_not_among_the_chats(make_store, backend):
    make_store().tie()
    reader = backend.records()

    assert len(reader.search(Query())) == len(reader.sealed_after({})[0]) == 1
    assert reader.search(Query(outcome="event")) == ()
    assert len(backend.activity().recent(since=0, limit=10)) == 1
    assert [*reader.ends().values()] == [2]


def test_a_clock_that_was_set_back_does_not_end_the_knots():
    head = Head(1, bytes(32), 5000.0, knotted_at=5000.0)

    assert is_due(head, 4000.0)
    assert not is_due(head, 5000.0 + EVERY - 1)


def test_an_anchor_goes_to_the_log_and_to_the_file(tmp_path, caplog):
    file = tmp_path / "anchors"
    anchors = Anchors(file)

    with caplog.at_level(logging.INFO):
        anchors(HEAD)
        until(lambda: file.exists() and file.read_text())
        anchors(HEAD)
    until(lambda: file.read_text().count("\n") == 2)

    line = f"2027-01-15T08:00:00Z anchor {HEAD}\n"
    assert file.read_text() == 2 * line
    assert [*anchors_in([line])] == [*anchors_in([caplog.text])][:1] == [place_of(HEAD)]
    assert Redactor(()).text(line) == line


def test_a_file_that_cannot_be_written_is_told_once_and_written_later(tmp_path, caplog):
    folder = tmp_path / "mount"
    anchors = Anchors(folder / "anchors")
    for _ in range(3):
        anchors(HEAD)
        until(lambda: not anchors._is_writing)

    folder.mkdir()
    anchors(HEAD)

    until(lambda: (folder / "anchors").exists() and not anchors._is_writing)
    assert (folder / "anchors").read_text().count("anchor") == 4
    assert caplog.text.count("VX11_ANCHOR_FILE") == 1


def test_a_file_that_hangs_holds_nobody_up(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it waits for a reader
    anchors = Anchors(pipe)

    for _ in range(5):
        anchors(HEAD)

    with pipe.open() as reader:
        assert reader.readline().endswith(f"anchor {HEAD}\n")


@pytest.mark.parametrize("text", ["", "1:2", f"1:2:{'g' * 64}", f" {HEAD}", f"-{HEAD}"])
def test_a_head_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="LANE:SEQ:DIGEST"):
        parse_head(text)


def test_a_head_reads_back_as_it_was_printed():
    assert parse_head(str(HEAD)) == place_of(HEAD)
