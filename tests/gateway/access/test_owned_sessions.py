"""A session belongs to the caller who named it."""

import uuid

import pytest

from app.gateway.access.owned_sessions import OwnedSessions
from app.gateway.budget import Budget
from tests.support.fakes import FakeUpstream, a_request


class Listening(FakeUpstream):
    def open(self, request, budget, turn=None):
        self.asked = request
        return super().open(request, budget, turn)


@pytest.fixture
def upstream_id():
    def ask(caller, session_id, key=b"k" * 32):
        upstream = Listening()
        request = a_request(caller=caller, session_id=session_id)
        OwnedSessions(upstream, lambda: key).open(request, Budget(10)).close()
        assert upstream.asked.last_user_message == "Hello"
        return upstream.asked.session_id

    return ask


def test_two_callers_who_name_the_same_session_are_in_two(upstream_id):
    alice, bob = upstream_id("alice", "s-1"), upstream_id("bob", "s-1")

    assert alice != bob
    assert uuid.UUID(alice).version == 4


def test_a_caller_comes_back_to_his_session_also_by_another_worker(upstream_id):
    assert upstream_id("alice", "s-1") == upstream_id("alice", "s-1")
    assert upstream_id("alice", "s-1") != upstream_id("alice", "s-2")


def test_nobody_can_compute_or_take_over_anothers(upstream_id):
    alice = upstream_id("alice", "s-1")

    assert upstream_id("alice", "s-1", key=b"another") != alice
    assert upstream_id("bob", alice) != alice


def test_the_installation_itself_keeps_its_ids(upstream_id):
    assert upstream_id("operator", "s-1") == "s-1"
    assert upstream_id("anybody", "s-1") == "s-1"


def test_without_a_key_they_are_apart_all_the_same(upstream_id):
    assert upstream_id("alice", "\ud800", key=b"") != upstream_id("bob", "x", key=b"")
