import pytest

from app.gateway.access.tokens import (
    DEFAULTS,
    LINK,
    Caller,
    Keyring,
    Token,
    name_problem,
    new_token,
)
from app.gateway.chat import Priority
from app.gateway.records.redaction import Redactor

CI = Caller("ci", frozenset({"chat"}), Priority.LOW, 60)


def keyring(clock, *tokens, fixed=()):
    ring = Keyring(fixed, clock=clock)
    ring.replace(tokens)
    return ring


def test_a_token_is_its_callers(clock):
    ring = keyring(clock, Token.of(CI, "one"), fixed=[Token.of(LINK, "link")])

    assert ring.authenticate(b"one") is CI
    assert ring.authenticate(b"link") is LINK
    assert ring.authenticate(b"other") is None
    assert ring.authenticate(b"") is None


def test_several_tokens_of_a_name_are_live_at_once(clock):
    ring = keyring(clock, Token.of(CI, "old"), Token.of(CI, "new"))

    assert ring.authenticate(b"old") == ring.authenticate(b"new") == CI


def test_a_token_is_valid_from_its_beginning_to_its_end(clock):
    digest = Token.of(CI, "one").sha256
    token = Token(CI, digest, not_before=clock.now + 10, expires=clock.now + 20)
    ring = keyring(clock, token)

    seen = []
    for _ in range(3):
        seen.append((token.state(clock.now), ring.authenticate(b"one")))
        clock.advance(10)

    assert seen == [("not yet", None), ("active", CI), ("expired", None)]


def test_replacing_takes_away_what_is_not_there_any_more(clock):
    ring = keyring(clock, Token.of(CI, "one"), fixed=[Token.of(LINK, "link")])

    ring.replace([])

    assert ring.authenticate(b"one") is None
    assert ring.authenticate(b"link") is LINK


def test_a_rejected_change_changes_nothing_and_is_remembered_until_a_good_one(clock):
    ring = keyring(clock, Token.of(CI, "one"))

    ring.reject(["is not TOML"])
    assert (ring.problems, ring.authenticate(b"one")) == (("is not TOML",), CI)

    ring.replace([])
    assert ring.problems == ()


def test_a_new_token_is_long_random_and_recognisable():
    made = {new_token() for _ in range(100)}

    assert len(made) == 100
    assert all(t.startswith("vx11_") and len(t) == 48 and t.isascii() for t in made)
    assert not made & DEFAULTS


def test_an_id_tells_tokens_apart_and_is_no_part_of_the_digest():
    one, two = Token.of(CI, "one"), Token.of(CI, "two")

    assert one.id != two.id
    assert one.id not in one.sha256.hex()


def test_a_record_never_shows_a_token():
    assert "one-token" not in repr(Token.of(CI, "one-token"))


@pytest.mark.parametrize("name", ["ci", "0", "a.b_c-d", "x" * 64])
def test_a_name_is_plain(name):
    assert name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "CI", "a b", "é", "x" * 65, "ci\n", "-ci", "operator", "anybody", "anonymous"],
)
def test_other_names_are_refused(name):
    assert name_problem(name)


def test_a_new_token_is_redacted_wherever_it_stands():
    """Only its digest is known here, so it is known by its form."""
    for made in (new_token() for _ in range(200)):
        assert made not in Redactor().text(f"my token is {made}, keep it")


def test_a_token_that_let_somebody_in_was_used_then(clock):
    one, other = Token.of(CI, "one"), Token.of(CI, "other")
    ring = keyring(clock, one, other)

    ring.authenticate(b"one")
    clock.advance(5)
    ring.authenticate(b"one")
    ring.authenticate(b"wrong")

    assert ring.used() == {one.id: clock.now}
