"""LastUsed: what all processes have seen of the tokens, in one file."""

import pytest

from app.storage.tokens.last_used import EVERY, NAME, NEWS, LastUsed
from tests.support.fakes import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def a_process(tmp_path, clock):
    """Make the view of one process, which has used what stands in its dict."""

    def make(**used):
        return LastUsed(tmp_path, lambda: used, clock), used

    return make


def test_what_one_process_has_seen_the_others_know(a_process):
    (one, _), (other, _) = a_process(aa=100.0, bb=200.0), a_process(bb=300.0)
    one.look()
    other.look()

    assert one.times() == other.times() == {"aa": 100.0, "bb": 300.0}


def test_it_outlives_the_process(a_process):
    one, _ = a_process(aa=100.0)
    one.look()

    reborn, _ = a_process()
    assert reborn.times() == {"aa": 100.0}


def test_its_own_uses_a_process_knows_at_once(a_process):
    one, used = a_process()
    used["aa"] = 5.0

    assert one.times() == {"aa": 5.0}


def test_a_use_soon_after_the_last_is_not_written(a_process, clock, tmp_path):
    one, used = a_process(aa=100.0)
    one.look()
    written = (tmp_path / NAME).stat().st_mtime_ns, (tmp_path / NAME).stat().st_ino
    clock.advance(EVERY)
    used["aa"] = 100.0 + NEWS - 1
    one.look()
    about = (tmp_path / NAME).stat()
    assert (about.st_mtime_ns, about.st_ino) == written

    clock.advance(EVERY)
    used["aa"] = 100.0 + NEWS
    one.look()
    assert a_process()[0].times() == {"aa": 100.0 + NEWS}


@pytest.mark.parametrize(
    "text",
    [
        *("", "no JSON", "[]", '{"aa": "x"}', "[" * 100_000),
        *('{"aa": Infinity}', '{"aa": NaN}', '{"aa": -1}', '{"aa": 1%s}' % ("0" * 400)),
    ],
)
def test_a_file_that_says_something_else_is_as_none(a_process, tmp_path, text):
    (tmp_path / NAME).write_text(text)
    one, _ = a_process(aa=100.0)

    assert one.times() == {"aa": 100.0}
    one.look()
    assert a_process()[0].times() == {"aa": 100.0}


def test_what_cannot_be_written_harms_nobody(tmp_path, clock):
    one = LastUsed(tmp_path / "nowhere", lambda: {"aa": 1.0}, clock)

    one.look()

    assert one.times() == {"aa": 1.0}


def test_the_file_is_private(a_process, tmp_path):
    a_process(aa=100.0)[0].look()

    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
