"""TokenIssuer: no token without a record, and no record without its change."""

import json

import pytest

from app.gateway.access.token_issuer import TokenIssuer, WantedToken, make_token
from app.gateway.access.tokens import (
    Caller,
    Keyring,
    NameTaken,
    NoSuchToken,
    Token,
    TokensUnusable,
)
from app.gateway.chat import Priority
from app.gateway.errors import AuditUnavailable
from tests.support.fakes import FakeTrail


class FakeStore:
    """Tokens in a list; fulfils TokenStore."""

    def __init__(self, *tokens):
        self.kept = list(tokens)
        self.is_broken = False

    def tokens(self):
        return tuple(self.kept)

    def add(self, token, *, beside_others):
        if self.is_broken:
            raise TokensUnusable(["is broken"])
        if not beside_others and token.caller.name in {
            t.caller.name for t in self.kept
        }:
            raise NameTaken(token.caller.name)
        self.kept.append(token)

    def remove(self, name, token_id=None):
        gone = [t for t in self.kept if t.id == token_id and t.caller.name == name]
        if not gone:
            raise NoSuchToken(name)
        self.kept = [t for t in self.kept if t not in gone]
        return tuple(gone)


class NoUses:
    """Knows of no use."""

    def times(self):
        return {}


class TrailThatBreaks(FakeTrail):
    """Takes intents, and then no endings."""

    def finish(self, intent, closing, timeout, pulse=lambda: None):
        raise AuditUnavailable("disk_full")


def an_issuer(store, trail, **options):
    return TokenIssuer(store, trail, NoUses(), **options)


def test_a_token_that_is_made_is_kept_by_its_digest_and_on_record():
    store, trail = FakeStore(), FakeTrail()
    wanted = WantedToken("ci", frozenset({"chat", "audit"}), rate=60)

    secret, made = an_issuer(store, trail).make(wanted, "operator")

    assert store.kept == [made]
    assert Keyring(store.kept).authenticate(secret.encode()).name == "ci"
    ((intent, closing),) = trail.closed
    assert (intent.caller, intent.route) == ("operator", "tokens")
    assert (closing.outcome, closing.code) == ("event", "token_made")
    assert json.loads(intent.request) == {
        "token": "ci",
        "token_id": made.id,
        "scopes": ["audit", "chat"],
        "class": "normal",
        "rate": 60,
        "volume": None,
        "names_people": False,
    }
    assert secret not in intent.request
    assert made.sha256.hex() not in intent.request


def test_without_a_record_there_is_no_token():
    store = FakeStore()

    with pytest.raises(AuditUnavailable):
        an_issuer(store, FakeTrail(is_down=True)).make(WantedToken("ci"), "operator")
    with pytest.raises(AuditUnavailable):
        an_issuer(store, TrailThatBreaks()).make(WantedToken("ci"), "operator")

    assert store.kept == []


def test_in_best_effort_a_change_does_not_wait_for_its_record():
    store = FakeStore()
    issuer = an_issuer(store, FakeTrail(is_down=True), required=False)

    _, made = issuer.make(WantedToken("ci"), "operator")

    assert store.kept == [made]


def test_a_change_that_did_not_come_about_is_on_record_as_that():
    store, trail = FakeStore(), FakeTrail()
    store.is_broken = True

    with pytest.raises(TokensUnusable):
        an_issuer(store, trail).make(WantedToken("ci"), "operator")

    ((_, closing),) = trail.closed
    assert closing.code == "token_unchanged"


def test_a_rotated_token_is_like_the_one_before():
    caller = Caller("ci", frozenset({"audit"}), Priority.LOW, 5, True, 1000)
    before = Token.of(caller, "the-old-secret")
    store, trail = FakeStore(before), FakeTrail()

    secret, made = an_issuer(store, trail).make(
        WantedToken("ci"), "operator", rotate=True
    )

    assert made.caller == caller
    assert store.kept == [before, made]
    assert secret != "the-old-secret"


def test_only_what_is_there_can_be_rotated_and_only_what_is_not_made():
    issuer = an_issuer(FakeStore(Token.of(Caller("ci"), "a-secret")), FakeTrail())

    with pytest.raises(NoSuchToken):
        issuer.make(WantedToken("other"), "operator", rotate=True)
    with pytest.raises(NameTaken):
        issuer.make(WantedToken("ci"), "operator")


def test_a_revoked_token_is_gone_and_on_record():
    one, two = (Token.of(Caller("ci"), secret) for secret in ("one", "two"))
    store, trail = FakeStore(one, two), FakeTrail()

    gone = an_issuer(store, trail).revoke(one.id, "operator")

    assert (gone, store.kept) == (one, [two])
    ((intent, closing),) = trail.closed
    assert closing.code == "token_revoked"
    assert json.loads(intent.request)["token_id"] == one.id


def test_one_that_is_not_there_cannot_be_revoked():
    trail = FakeTrail()

    with pytest.raises(NoSuchToken):
        an_issuer(FakeStore(), trail).revoke("0" * 8, "operator")

    assert trail.closed == []


def test_without_scopes_a_token_may_chat():
    _, made = make_token(WantedToken("ci"), (), rotate=False)

    assert made.caller.scopes == {"chat"}
