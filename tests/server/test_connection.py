import socket
import threading
import time

import pytest
from gunicorn.http.errors import NoMoreData

from app.server.connection import CallerSocket

BIG = b"x" * 20_000_000  # more than the kernel keeps for a caller


@pytest.fixture
def ends():
    listener = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(listener.getsockname(), 20)
    ours = CallerSocket.of(listener.accept()[0])
    ours.setblocking(True)
    with listener, theirs, ours:
        yield ours, theirs


def test_what_is_there_is_read_at_once(ends):
    ours, theirs = ends
    ours.expect_head()
    theirs.sendall(b"GET")
    ours.recv(1)

    assert ours.recv(100) == b"ET"
    assert ours.gettimeout() is None


def test_an_end_is_an_end(ends):
    ours, theirs = ends
    ours.expect_head()
    theirs.close()

    assert ours.recv(100) == b""


def test_a_head_that_stalls_ends_like_one_that_was_broken_off(ends):
    ours, _ = ends
    ours.expect_head()
    started = time.monotonic()

    with pytest.raises(NoMoreData):
        ours.recv(100)

    assert 2.9 < time.monotonic() - started < 10
    assert ours.ran_out


def test_once_its_time_is_up_nothing_is_waited_for(ends):
    ours, _ = ends  # whose time has not even begun
    started = time.monotonic()

    with pytest.raises(NoMoreData):
        ours.recv(100)

    assert time.monotonic() - started < 1


def test_a_look_ahead_waits_for_nothing(ends):
    ours, _ = ends
    ours.expect_head()

    with pytest.raises(BlockingIOError):
        ours.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)


def test_a_limit_of_somebody_else_is_kept(ends):
    ours, _ = ends
    ours.settimeout(0.2)
    started = time.monotonic()

    with pytest.raises(TimeoutError):
        ours.sendall(BIG)

    assert time.monotonic() - started < 5
    assert ours.gettimeout() == 0.2


def test_all_of_a_long_answer_is_sent_to_who_reads_it(ends):
    ours, theirs = ends
    got = []

    def read():
        while sum(got) < len(BIG):
            got.append(len(theirs.recv(1_000_000)))

    reader = threading.Thread(target=read)
    reader.start()

    ours.sendall(BIG)

    reader.join(30)
    assert sum(got) == len(BIG)
