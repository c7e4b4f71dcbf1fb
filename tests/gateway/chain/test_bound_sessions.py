import uuid

import pytest

from app.gateway.budget import Budget
from app.gateway.chain.bound_sessions import BoundSessions
from tests.support.fakes import FakeUpstream, a_request


class Listening(FakeUpstream):
    def open(self, request, budget, turn=None):
        self.heard = request
        return super().open(request, budget, turn)


@pytest.fixture
def bound():
    """The session as an upstream is told it."""

    def bound(key=b"k" * 32, **fields):
        upstream = Listening()
        handler = BoundSessions(upstream, lambda: key)
        handler.open(a_request(**fields), Budget(10)).collect()
        return upstream.heard.session_id

    return bound


def test_a_session_goes_on_under_the_same_name(bound):
    assert bound(session_id="s") == bound(session_id="s") != bound(session_id="t")
    assert uuid.UUID(bound(session_id="s")).version == 5


def test_callers_and_persons_who_name_the_same_session_have_one_each(bound):
    names = [
        bound(caller="web", session_id="s"),
        bound(caller="ci", session_id="s"),
        bound(caller="web", person="ada", session_id="s"),
        bound(caller="web", person="eve", session_id="s"),
        bound(caller="web", person="", session_id="s"),
        bound(key=b"another", caller="web", session_id="s"),
    ]

    assert len(set(names)) == len(names)


def test_no_name_can_be_split_so_that_it_is_another_ones(bound):
    one = bound(caller="web", person='a","b', session_id="c")

    assert one != bound(caller="web", person="a", session_id='b","c')


def test_a_name_of_any_characters_can_be_bound(bound):
    assert uuid.UUID(bound(session_id="\ud800 \u2028", person="\xe9\ud800"))
