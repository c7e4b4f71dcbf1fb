from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.errors import BadReply
from app.upstreams.openai.sse import Event, EventParser


def feed(parser, pieces):
    return [event for piece in pieces for event in parser.feed(piece)]


def parse(*pieces, ends=True):
    parser = EventParser()
    found = feed(parser, pieces)
    return found + (list(parser.end()) if ends else [])


def data_of(*pieces):
    return [event.data for event in parse(*pieces)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_any_kind_of_line_end_ends_a_line(end):
    stream = end.join([b"data: one", b"", b"data: two", b"data: more", b"", b""])

    assert data_of(stream) == [b"one", b"two\nmore"]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data:tight\n\n", [b"tight"]),
        (b"data:  two spaces\n\n", [b" two spaces"]),
        (b"data\n\n", [b""]),
        (b": a comment\n\n: another\ndata: x\n\n", [b"x"]),
        (b"id: 7\nretry: 5\nfield without meaning\ndata: x\n\n", [b"x"]),
        (b"\xef\xbb\xbfdata: x\n\n", [b"x"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n", [b"x"]),
        (b"data: x\n\n\xef\xbb\xbfdata: y\n\n", [b"x", b"y"]),
        (b"data: \xef\xbb\xbf\n\n", [b"\xef\xbb\xbf"]),
        (b"\n\n\n\ndata: x\n\n\n\n", [b"x"]),
        (b"event: ping\n\ndata: x\n\n", [b"x"]),
        (b"data: no empty line at the end", [b"no empty line at the end"]),
    ],
)
def test_what_servers_send_is_understood(stream, expected):
    assert data_of(stream) == expected


def test_an_event_may_name_its_kind():
    found = parse(b"event: error\ndata: x\n\ndata: y\n\n")

    assert found == [Event(b"error", b"x"), Event(b"message", b"y")]


@pytest.mark.parametrize(
    "stream", [b"error: x\n\n", b"event: message\nerror: x\n\n", b"error:x"]
)
def test_a_field_named_error_is_an_event_of_that_kind(stream):
    """llama.cpp ends a stream so that breaks (its `server_sent_event`)."""
    assert parse(stream) == [Event(b"error", b"x")]
    assert parse(stream + b"\n\ndata: y\n\n")[1:] == [Event(b"message", b"y")]


def test_lines_that_are_no_field_are_kept_for_a_look():
    parser = EventParser()

    feed(parser, [b": comment\nid: 1\nretry: 2\nd", b"ata: x\ndbta: y\n\nodd\n"])

    assert parser.strays == [b"dbta: y", b"odd"]


def test_a_line_end_that_is_split_between_two_pieces_ends_one_line():
    assert data_of(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [b"a\nb"]


def test_an_event_is_there_as_soon_as_its_empty_line_is():
    assert parse(b"data: a\r\n\r", ends=False) == [Event(b"message", b"a")]


PARTS = st.sampled_from(
    [b"data: x", b"data:", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b": hi", b"\xc3\xa9"]
)


@settings(max_examples=500, deadline=None)
@given(stream=st.lists(PARTS, max_size=30).map(b"".join), data=st.data())
def test_where_a_stream_is_split_makes_no_difference(stream, data):
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    bounds = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(bounds)]

    assert parse(*pieces) == parse(stream) == parse(*(bytes((b,)) for b in stream))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=10))
def test_no_bytes_break_the_parser(pieces):
    assert all(isinstance(event, Event) for event in parse(*pieces))


LARGE = 1_000_000  # bytes


@pytest.mark.parametrize("line", [b"data: ", b": ", b"x"])
@pytest.mark.parametrize("size", [100, 65536])
def test_a_line_without_end_is_given_up(line, size):
    parser = EventParser(LARGE)
    list(parser.feed(line))

    with pytest.raises(BadReply, match="protocol"):
        feed(parser, [b"a" * size] * (LARGE // size + 3))


def test_an_event_of_lines_without_end_is_given_up():
    parser = EventParser(LARGE)
    line = b"data: " + b"a" * 1000 + b"\n"

    with pytest.raises(BadReply, match="protocol"):
        feed(parser, [line] * (LARGE // 1000 + 1))


def test_events_that_only_line_ends_part_are_events_of_their_own():
    lines = b'data: {"a":1}\ndata: {"b":"}"}\ndata: [DONE]\n\n'

    assert [event.data for event in parse(lines)] == [
        b'{"a":1}',
        b'{"b":"}"}',
        b"[DONE]",
    ]


@pytest.mark.parametrize(
    "lines",
    [
        (b'{"a":', b"1}"),
        (b"{", b'"a": {}', b"}"),
        (b'{"a": {}', b', "b": 1}'),
        (b'{"a": "}', b'"}'),
    ],
)
def test_data_of_several_lines_stays_one_event(lines):
    text = b"".join(b"data: " + line + b"\n" for line in lines)

    assert [event.data for event in parse(text + b"\n")] == [b"\n".join(lines)]
