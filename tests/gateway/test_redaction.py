import time

import pytest

from app.gateway.redaction import Redactor

OURS = "our-own-gateway-token"


@pytest.fixture
def redact():
    return Redactor([OURS]).text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"use {OURS} now", OURS),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ("key sk-proj-abcdefghijklmnop1234", "abcdefghijklmnop"),
        ("aws AKIAIOSFODNN7EXAMPLE here", "AKIAIOSFODNN7EXAMPLE"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0abc.c2lnbmF0dXJl", "eyJhbGci"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
            "MIIE",
        ),
        ("-----BEGIN PRIVATE KEY-----\ncut off MIIE", "MIIE"),
        ("card 4111 1111 1111 1111 please", "1111"),
        ("mail bob.smith+x@mail.example.com!", "example.com"),
        ("my password is hunter22", "hunter22"),
        ("api_key=abcd1234efgh", "abcd1234efgh"),
    ],
)
def test_a_secret_does_not_stay(redact, text, secret):
    redacted = redact(text)

    assert secret not in redacted
    assert "[redacted:" in redacted


@pytest.mark.parametrize(
    "text",
    [
        "Hello, how are you?",
        "Order 1234567890123 arrived at 10:15",  # no card: fails Luhn
        "the price is @ 20 euros",
        "a token of my affection",
        "BEGIN of the story",
    ],
)
def test_ordinary_words_stay(redact, text):
    assert redact(text) == text


def test_free_form_values_are_redacted_throughout():
    value = {"user": {"Password": "x", "mails": ["a@b.example", 3]}, "ok": None}

    assert Redactor().value(value) == {
        "user": {"Password": "[redacted:secret]", "mails": ["[redacted:email]", 3]},
        "ok": None,
    }


@pytest.mark.parametrize(
    "hostile",
    [
        "1 " * 200_000,
        "a" * 500_000 + "@",
        "eyJ" * 100_000,
        "-----BEGIN " * 20_000,
        "password " * 50_000,
    ],
)
def test_hostile_text_costs_no_more_than_its_length(redact, hostile):
    started = time.process_time()

    redact(hostile)

    assert time.process_time() - started < 2.0
