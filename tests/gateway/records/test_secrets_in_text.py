"""What redaction finds and what it leaves alone, made from its own tables."""

import string
from random import Random
from uuid import UUID

import pytest

from app.gateway.records.card_numbers import ISSUERS, without_cards
from app.gateway.records.redaction import Redactor
from app.gateway.records.secret_makes import LEAST, MAKES, without_keys

redact = Redactor().text
value = Redactor().value
HIDDEN = "[redacted:secret]"
CARD = "[redacted:card]"
KEY = "[redacted:key]"

by_prefix = pytest.mark.parametrize("make", MAKES, ids=lambda make: make.prefix)
by_issuer = pytest.mark.parametrize("issuer", ISSUERS, ids=lambda i: i.example)


class TestMakes:
    @by_prefix
    @pytest.mark.parametrize(
        "around", ["{}", "use {}!", "x={}&y", '{{"k":"{}"}}', "({})"]
    )
    def test_a_key_of_a_known_make_is_found(self, make, around):
        assert make.example.startswith(make.prefix)

        assert redact(around.format(make.example)) == around.format(KEY)

    @by_prefix
    def test_whatever_its_random_part_is(self, make):
        random = Random(make.prefix)
        signs = "0123456789abcdef" if "a-f" in make.signs else string.ascii_uppercase
        keys = [
            make.prefix + "".join(random.choices(signs + string.digits, k=32))
            for _ in range(20)
        ]

        assert {without_keys(key) for key in keys} == {KEY}

    @by_prefix
    def test_but_not_its_prefix_alone(self, make):
        for words in (make.prefix, f"{make.prefix}abc", f"{make.prefix}..."):
            assert redact(words) == words

    @by_prefix
    def test_nor_joined_words_that_begin_like_it(self, make):
        if make.prefix[-1] in "-_.":
            for between in "-_":
                words = make.prefix + between.join(
                    ["learn", "is", "a", "library", "v2"]
                )
                assert len(words) - len(make.prefix) >= LEAST
                assert redact(words) == words

    @by_prefix
    def test_nor_what_ends_a_longer_word(self, make):
        words = f"a{make.prefix}Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8"

        assert without_keys(words) == words


def grouped(digits, between, sizes=(4, 4, 4, 4, 4)):
    groups = []
    for size in sizes:
        groups, digits = [*groups, digits[:size]], digits[size:]
    return between.join(filter(None, groups))


SEPARATORS = [
    *("", " ", "  ", "-", "/", "_", "\n", "\t", "\r\n", " - ", "|", "*", "\\", "~"),
    *("\u00a0", "\u2009", "\u202f", "\u3000", "\u2013", "\u2014", "\u2010", "\u00b7"),
    *("\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060"),
]
ZEROS = {
    "Arabic": "\u0660",
    "Persian": "\u06f0",
    "Devanagari": "\u0966",
    "fullwidth": "\uff10",
    "mathematical": "\U0001d7ce",
}


class TestCards:
    @by_issuer
    @pytest.mark.parametrize("between", SEPARATORS, ids=ascii)
    def test_a_card_is_found_whatever_stands_between(self, issuer, between):
        card = grouped(issuer.example, between)

        assert redact(f"card {card}, please") == f"card {CARD}, please"

    @by_issuer
    @pytest.mark.parametrize("zero", ZEROS.values(), ids=ZEROS)
    def test_in_the_digits_of_any_script(self, issuer, zero):
        card = "".join(chr(ord(zero) + int(digit)) for digit in issuer.example)

        assert redact(f"\u6f22 {grouped(card, ' ')} \u6f22") == f"\u6f22 {CARD} \u6f22"

    @by_issuer
    def test_as_a_number_of_json(self, issuer):
        number = int(issuer.example)

        assert value([number, {"n": number}]) == [CARD, {"n": CARD}]

    @by_issuer
    def test_beside_letters(self, issuer):
        track = f"%B{issuer.example}^DOE/JOHN^2512"

        assert redact(track) == f"%B{CARD}^DOE/JOHN^2512"
        assert redact(f";{issuer.example}=2512") == f";{CARD}=2512"

    @by_issuer
    def test_digit_by_digit(self, issuer):
        assert redact(f"is {' '.join(issuer.example)}.") == f"is {CARD}."

    @pytest.mark.parametrize("between", list(".,:;"))
    def test_with_what_stands_between_numbers_of_a_list(self, between):
        assert redact(grouped("4111111111111111", between)) == CARD
        assert redact(grouped("378282246310005", between, (4, 6, 5))) == CARD

    def test_with_its_date_and_code_and_beside_others(self):
        cards = (
            "4111 1111 1111 1111 123 12/28\n5500 0000 0000 0004\n5555 5555 5555 4444"
        )

        assert redact(cards) == f"{CARD} 123 12/28\n{CARD}\n{CARD}"
        assert redact(" ".join([grouped("4111111111111111", " ")] * 3)) == (
            f"{CARD} {CARD} {CARD}"
        )

    @by_issuer
    def test_but_not_with_a_wrong_digit(self, issuer):
        last = (int(issuer.example[-1]) + 5) % 10
        number = issuer.example[:-1] + str(last)

        assert redact(number) == number
        assert value(int(number)) == int(number)

    def test_nor_numbers_of_other_things(self):
        random = Random(7)
        others = [
            *(str(1_700_000_000_000 + random.randrange(10**11)) for _ in range(300)),
            *(
                str(1_700_000_000_000_000 + random.randrange(10**14))
                for _ in range(300)
            ),
            *(f"35{random.randrange(10**13):013}" for _ in range(300)),  # IMEI
            *(f"978{random.randrange(10**10):010}" for _ in range(300)),  # ISBN
            *(str(UUID(int=random.getrandbits(128))) for _ in range(300)),
            *(f"0.{random.randrange(10**16)}" for _ in range(300)),
            *(f"1{random.randrange(10**15):015}" for _ in range(300)),  # orders
        ]

        assert [number for number in others if redact(number) != number] == []

    def test_nor_a_list_of_numbers(self):
        numbers = ["4111", *["1111"] * 12]

        for between in (" ", ", ", "\n", "\t"):
            assert without_cards(between.join(numbers)) == between.join(numbers)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("pwd: hunter22", "hunter22"),
        ("pass: hunter22", "hunter22"),
        ("db_pass: swordfish", "swordfish"),
        ("DB_PASS=swordfish", "swordfish"),
        ("MYSQL_PWD=swordfish mysql -u root", "swordfish"),
        ("Server=db;Database=x;Uid=sa;Pwd=swordfish;", "swordfish"),
        ("Server=db;User Id=sa;Password=swordfish;", "swordfish"),
        ('{"pwd":"swordfish"}', "swordfish"),
        ('"pass" : "two words"', "words"),
        ("passcode=swordfish", "swordfish"),
        ("password: swordfish", "swordfish"),
        ("the password is hunter22.", "hunter22"),
        ("the secret is Tr0ub4dor&3", "Tr0ub4dor"),
        ("client_secret: swordfish", "swordfish"),
        ("clientSecret: swordfish", "swordfish"),
        ("secret: Tr0ub4dor&3", "Tr0ub4dor"),
        ("postgres://bob:p@ss@db/chats", "p@ss"),
        ("postgres://bob:p@ss@db/chats", "ss@"),
        ("postgres://bob:pa/ss@db/chats", "ss@"),
        ("redis://:pa/s@s@cache:6379/0", "pa/s"),
        ("amqp://bob:p#a?s@mq", "p#a"),
        ("<password>swordfish</password>", "swordfish"),
        ('<ns:dbPassword type="x">sword fish</ns:dbPassword>', "fish"),
        ("<apiKey>swordfish</apiKey>", "swordfish"),
        ('{"name":"password","value":"swordfish"}', "swordfish"),
        ('{"name": "DB_PASSWORD", "value": "sword fish"}', "fish"),
        (r"{\"key\": \"api_key\", \"value\": \"swordfish\"}", "swordfish"),
        ('{"pin": 1234, "card_pin":"9876"}', "1234"),
        ('{"pin": 1234, "card_pin":"9876"}', "9876"),
        (r"{\"auth\": \"swordfish\"}", "swordfish"),
        ("bob@mail.example", "bob"),
    ],
)
def test_what_stands_behind_a_name_does_not_stay(text, secret):
    redacted = redact(text)

    assert secret not in redacted
    assert "[redacted:" in redacted
    assert redact(redacted) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "The secret is patience",
        "The secret is out, and the password is required",
        "My secret: never give up",
        "The secret ingredient is love",
        "the password is case-sensitive and 8-12 characters long",
        "Password: required",
        "password: the word that you chose",
        "Password: (optional) at least eight characters",
        "all tests pass: 12 of 12",
        "Boarding pass: gate closes at ten",
        "pwd: /home/bob/project",
        "PWD=/home/bob",
        "the api key is missing",
        "sk-learn-is-a-python-library",
        "sk-learn-is-a-python-library-for-machine-learning",
        "pip install sk-image-and-more-tools-v2",
        "npm_config_cache_directory_name",
        "a task-scheduling-and-dispatch-service",
        "git clone git@github.com:o/r",
        "ssh://git@github.com/o/r.git",
        "npm install left-pad@1.3.0 react@18.2.0-beta.1",
        "curl http://localhost:8080/users/@me and https://a.example:3000/@bob",
        "created at 1721234567891, updated 1721234567899",
        "IMEI 356938035643809 and 490154203237518",
        "ISBN 978-3-16-148410-0, or 9783161484100",
        "order 1234-5678-9012-3456, parcel 00340434161094042557",
        "version 10.15.7.19H2 of 2026-05-01 10:15:42.123456",
        "550e8400-e29b-41d4-a716-446655440000",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "call +49 30 1234 5678 90 or (555) 123-4567",
        "IBAN DE89 3704 0044 0532 0130 00",
        "loss: 0.4111111111111111, 0.5500000000000004",
        "in 2019 2020 2021 2022 2023 2024 it grew",
        "<passage>once upon a time</passage>",
        '{"author": "Ann", "auth_mode": "off", "spin": 1234, "auth": {"a": 1}}',
        '{"name": "passenger", "value": "Ann"}',
        "a bearer of news, a token of love, a cookie: chocolate",
    ],
)
def test_an_ordinary_sentence_stays(text):
    assert redact(text) == text


class TestValues:
    @pytest.mark.parametrize(
        "name",
        ["pw", "PW", "pin", "card_pin", "auth", "userAuth", "dbPwd", "pass", "x-auth"],
    )
    def test_under_a_short_name_too(self, name):
        assert value({name: "swordfish"}) == {name: HIDDEN}

    @pytest.mark.parametrize(
        "name",
        ["spin", "author", "auth_mode", "pinned", "power", "compass", "pinCount"],
    )
    def test_but_not_under_one_that_holds_it(self, name):
        assert value({name: "swordfish"}) == {name: "swordfish"}

    @pytest.mark.parametrize("naming", ["name", "key", "field"])
    def test_beside_its_name(self, naming):
        said = {naming: "password", "value": ["swordfish"], "note": "mine"}

        assert value(said) == said | {"value": [HIDDEN]}
        assert value({naming: "colour", "value": "red"})["value"] == "red"

    def test_names_that_are_redacted_alike_do_not_overwrite_one_another(self):
        mails = {"a@b.example": 1, "c@d.example": 2, "[redacted:email]": 3}

        assert sorted(value(mails).values()) == [1, 2, 3]
        assert value(mails)["[redacted:email]"] == 3
        assert len(value({"password": mails})["password"]) == 3

    def test_ten_thousand_of_them_neither(self):
        mails = {f"bob{number}@mail.example": number for number in range(10_000)}

        assert sorted(value(mails).values()) == list(range(10_000))

    def test_numbers_that_are_no_cards_stay(self):
        numbers = [0, -4111111111111111, 1721234567891, 4.5, 1e300, True, None]

        assert value(numbers) is numbers
        assert value(4111111111111111.0) == CARD
