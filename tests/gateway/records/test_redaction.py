import time

import pytest

from app.gateway.access.tokens import new_token
from app.gateway.records.redaction import Redactor

OURS = "our-own-gateway-token"
HIDDEN = "[redacted:secret]"
SLACK = 3  # a shared machine may take some times as long


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
        ('{"password": "hunter2secret"}', "hunter2secret"),
        ("{'password': 'correct horse battery'}", "horse"),
        (r'{"password": "quote\" and more"}', "more"),
        (r"{\"password\": \"two words\"}", "words"),
        ("password => 'hunter22'", "hunter22"),
        ("Authorization: Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
        ('"authorization": "basic dXNlcjpodW50ZXIy"', "dXNlcjpodW50ZXIy"),
        ('Authorization: Digest username="Bob", response="6629fae4"', "6629fae4"),
        ("Authorization: abc123def456", "abc123def456"),
        ("Cookie: session=abcdef; theme=dark", "abcdef"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
        ("client_secret=abcdefgh", "abcdefgh"),
        ("db_password=hunter22", "hunter22"),
        ("dbPassword: hunter22", "hunter22"),
        ("AccountKey=abcdefgh==", "abcdefgh"),
        ("private_key: abcdefgh", "abcdefgh"),
        ("https://x.example/?token=abcdefgh&page=2", "abcdefgh"),
        ("access_token: abcdefgh", "abcdefgh"),
        ('{"token": "abcd efgh"}', "efgh"),
        ("my token is abcd1234", "abcd1234"),
        ("token = abcd1234", "abcd1234"),
        ("github_pat_11ABCDEFG0abcdefghijkl_mnopqrst", "11ABCDEFG0"),
        ("card 4111.1111.1111.1111 please", "1111"),
        ("card 4111-1111-1111-1111 please", "1111"),
        ("postgres://user:hunter22@db/chats", "hunter22"),
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
        '{"max_tokens": 1000, "output_tokens": 12345, "token_count": 99999}',
        "max_tokens=1000 and output_tokens: 12345",
        "my token budget is large",
        "a token is a piece of a word; a token: the smallest piece",
        "the access_token is expired",
        "token = tokenizer.decode(ids)",
        "the secretary: Mrs Smith, and secret-sharing is important",
        '{"password": null, "secret": ""}',
        "basic instructions about authorization: required",
        "a cookie: chocolate",
        "it took from 1721234567.891234 to 1721234567.991234",
        "see https://example.com:8443/path",
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
    ("key", "value", "expected"),
    [
        ("password", ["x", ["y"]], [HIDDEN, [HIDDEN]]),
        ("token", 123456789, HIDDEN),
        ("secrets", {"a": "x", "b": 1.5}, {"a": HIDDEN, "b": HIDDEN}),
        ("Authorization", {"Basic": "x"}, {"Basic": HIDDEN}),
        ("db_password", "x", HIDDEN),
        ("dbPwd", "x", HIDDEN),
        ("db-pwd", "x", HIDDEN),
        ("private_key", "x", HIDDEN),
        ("next_tokens", ["abc"], [HIDDEN]),
    ],
)
def test_all_under_a_sensitive_name_is_hidden(key, value, expected):
    assert Redactor().value({key: value}) == {key: expected}


@pytest.mark.parametrize(
    "value",
    [
        {"max_tokens": 100, "output_tokens": 5, "token_count": 9, "maxTokens": 7},
        {"prompt_tokens_details": {"cached_tokens": 0}, "eos_token_id": 50256},
        {"password": None, "token": "", "secret": False, "cookies": []},
        {"passengers": ["Ann"], "bypass": "no", "tokenizer": "bpe", "secretary": "Jo"},
        {"properties": {"password": {"type": "string", "description": "at least 8"}}},
    ],
)
def test_what_only_sounds_sensitive_stays(value):
    assert Redactor().value(value) == value


def test_what_holds_nothing_to_redact_is_not_copied():
    clean = {"a": [{"b": 1}], "c": "x"}
    value = {"clean": clean, "other": [{"password": "hunter22"}, clean]}

    redacted = Redactor().value(value)

    assert redacted["clean"] is clean
    assert redacted["other"][1] is clean
    assert redacted["other"][0] != value["other"][0]
    assert value["other"][0] == {"password": "hunter22"}


def test_redacting_again_changes_nothing(redact):
    once = redact(
        'password: hunter22, "token": "abcd1234", Authorization: Basic YTpiYw'
    )

    assert once == (f'password: {HIDDEN}, "token": "{HIDDEN}", Authorization: {HIDDEN}')
    assert redact(once) == once


class TestNames:
    """Ids and models: only what opens the gateway is taken out of them."""

    def test_our_own_secrets_are(self):
        redactor, token = Redactor([OURS]), new_token()

        assert redactor.name(f"a-{OURS}") == "a-[redacted:token]"
        assert redactor.name(token) == "[redacted:token]"
        assert redactor.holds_secret(OURS)
        assert redactor.holds_secret(token)

    @pytest.mark.parametrize(
        "name",
        ["", "4111111111111111", "bob@mail.example", "hf-a-long-name-of-a-model"],
    )
    def test_nothing_else_is(self, name):
        assert Redactor([OURS]).name(name) == name
        assert not Redactor([OURS]).holds_secret(name)


UNITS = [
    *("1 ", "1.", "4111.", "a", "a.", "a@", "@a.", " ", "\\", '"', "İ", "vx11_", "sk-"),
    *(
        "eyJ",
        "eyJ-",
        "eyJaaaaaaaa.",
        "-eyJaaaaaaaa-",
        "-----BEGIN ",
        "-----BEGIN A-----",
    ),
    *("password ", "password:", "password: '", "password_", "secret-", "secret=\\"),
    *("api_key", "token", "token:", "token_", "my_token ", "token=", "token is "),
    *("authorization: ", "authorization: basic ", "cookie: a", "cookie:", "bearer "),
    *("://a", "://:", "://a:b", "github_pat_", "<password", "4444 ", "4 ", "\u0664 "),
    *('"name":"password",', "pass: a ", "secret is a ", "sk-a-"),
]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("signs", ["", "@ eyJ password secret key token is ://"])
def test_hostile_text_costs_no_more_than_its_length(redact, unit, signs):
    hostile = unit * (100_000 // len(unit)) + signs
    started = time.process_time()

    redact(hostile)

    assert time.process_time() - started < 0.05 * SLACK
