"""Sealed words are read by who has the secret, unchanged, and by nobody else."""

import os

import pytest

from app.storage.kept.sealing import AnswerSealing

SECRET = b"s" * 32


@pytest.mark.parametrize("words", [b"", b"short", b"x" * 100_000, os.urandom(9000)])
def test_they_come_back(words):
    sealing = AnswerSealing()

    sealed = sealing.seal(SECRET, words, b"about")

    assert sealing.open(SECRET, sealed, b"about") == words
    assert words == b"" or words not in sealed


def test_long_ones_are_packed():
    assert len(AnswerSealing().seal(SECRET, b"x" * 100_000, b"")) < 1000


def test_the_same_words_are_never_sealed_alike():
    sealing = AnswerSealing()

    assert len({sealing.seal(SECRET, b"words", b"") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("secret", "about", "spoil"),
    [
        (b"o" * 32, b"about", lambda sealed: sealed),
        (SECRET, b"other", lambda sealed: sealed),
        (SECRET, b"about", lambda sealed: sealed[:-1]),
        (SECRET, b"about", lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (SECRET, b"about", lambda sealed: bytes([sealed[0] ^ 1]) + sealed[1:]),
        (SECRET, b"about", lambda _: b""),
        (SECRET, b"about", lambda _: b"short"),
    ],
)
def test_what_was_changed_is_nothing(secret, about, spoil):
    sealing = AnswerSealing()
    sealed = sealing.seal(SECRET, b"words", b"about")

    assert sealing.open(secret, spoil(sealed), about) is None
