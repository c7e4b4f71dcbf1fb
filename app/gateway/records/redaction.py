"""Redaction: secrets and personal data are taken out before a record is made.

This is the one place where it happens. Patterns are searched only where a cheap
sign of them is present, because every chat pays for this.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from math import inf
from operator import is_
from time import monotonic
from typing import Any

from app.gateway.access.tokens import MARKER
from app.gateway.budget import Clock
from app.gateway.chain.big_work import TooLate

SHORTEST = 5  # characters that hold a secret of any kind: a@b.c
HIDDEN = "[redacted:secret]"

LONG = 65536  # characters; the time that is left is looked at before each pattern
SEARCH = 1e-7  # seconds that a pattern takes for a character, and as many to spare

# Both are for names in lower case: case-blind patterns are several times slower.
_SENSITIVE_KEY = re.compile(
    r"pass(?:word|wd|phrase|code)|(?<![a-z])(?:pass|pwd)(?![a-z])"
    r"|secret(?!ar)|token(?!iz)|api[_-]?key|(?:access|private)[_-]?key"
    r"|authorization|cookie|credential"
)
# Names of numbers that count or number tokens, and are none.
_COUNTED = re.compile(
    r"tokens|(?:max|min|num|per|total)[_-]?token"
    r"|token[_-]?(?:budget|count|id|index|limit|type|usage)"
)
# A sensitive key may hold a JSON schema instead of a value; its words are kept.
_SCHEMA_TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")
_SCHEMA_WORDS = frozenset({"type", "description", "title", "format"})


# Each second digit counts double, and the digits of that are added up.
_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")


def _passes_luhn(digits: bytes) -> bool:
    counted = digits[-1::-2] + digits[-2::-2].translate(_DOUBLED)
    return (sum(counted) - len(counted) * ord("0")) % 10 == 0


def _card(match: re.Match[str]) -> str:
    digits = match[0].encode().translate(None, b" .-")
    return "[redacted:card]" if _passes_luhn(digits) else match[0]


# Those of the file of tokens, of which only digests are known (`tokens.new_token`).
_OUR_TOKEN = re.compile(rf"{MARKER}[\w-]{{40,}}+", re.ASCII)

# What may stand between a name and its value in settings, code and JSON (also in JSON
# within JSON), and in prose. A group holds the quote before the value, if there is one.
_QUOTE = r"\\{0,3}[\"'`]"
_SIGN = rf"(?:{_QUOTE})?+\s*+(?:=>|:=|[:=])"
_OPENING = rf"\s*+({_QUOTE})?+"
_SUFFIX = r"(?:[_-][\w-]{1,30}+|\d{1,3}|(?i:access)?[Kk]ey)?+"
# The value: not what was taken out already, or says that there is none.
_SOME = r"(?!\[redacted|(?i:null|none|true|false|undefined)\b)"
_QUOTED = r"(?:(?!\2)(?:[^\\\n]|\\.))++"
_WORD = r"[\w.~+/=%-]"
# Behind a word that is code and no secret. It is a part of the match, which is then
# left as it is: a pattern that failed here would look at all of it again and again.
_CALL = r"([(\[])?+"
_DIGIT = re.compile("[0-9]")
_HAS_DIGIT = r"(?=[A-Za-z_.~+/=%-]{0,64}\d)"


def _assigned(name: str) -> re.Pattern[str]:
    return re.compile(
        rf"({name}(?:{_SUFFIX}{_SIGN}|\s++is\b){_OPENING})"
        rf"{_SOME}(?(2){_QUOTED}|[^\s,;]{{4,}}+)",
        re.ASCII,
    )


def _token(match: re.Match[str]) -> str:
    return match[0] if match[3] else f"{match[1]}{HIDDEN}"


def _token_with_digit(match: re.Match[str]) -> str:
    return _token(match) if _DIGIT.search(match[0], len(match[1])) else match[0]


_Replacement = str | Callable[[re.Match[str]], str]

# (lower-case sign that must be present, pattern, what replaces a match). No pattern
# takes more time than the length of the text: what repeats is possessive or bounded.
# None begins with a case-blind letter or an assertion if it can be helped, since
# those are searched several times slower.
_PATTERNS: tuple[tuple[str, re.Pattern[str], _Replacement], ...] = (
    (
        "-----begin",
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)",
            re.DOTALL,
        ),
        "[redacted:pem]",
    ),
    (
        "eyj",
        re.compile(r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+", re.ASCII),
        "[redacted:jwt]",
    ),
    (
        "bearer",
        re.compile(r"([Bb](?i:earer))\s++[\w.~+/=-]{8,}+", re.ASCII),
        r"\1 [redacted:bearer]",
    ),
    (
        "authorization",
        re.compile(
            r"([Aa](?i:uthorization)\\{0,3}[\"']?\s*+[:=]>?\s*+\\{0,3}[\"']?)(?:"
            r"(?i:basic|token|apikey|negotiate|ntlm)\s++(?!\[redacted)[^\s\"',;]{4,}+"
            r"|(?i:digest|aws4-hmac-sha256)\s++[^\r\n]++"
            rf"|{_HAS_DIGIT}(?!\[redacted)[^\s\"',;]{{8,}}+)",
            re.ASCII,
        ),
        rf"\1{HIDDEN}",
    ),
    (
        "cookie",
        re.compile(
            r"([Cc](?i:ookie)[\"']?\s*+:\s*+[\"']?)(?=[\w.$-]{1,64}=)[^\r\n\"']++",
            re.ASCII,
        ),
        rf"\1{HIDDEN}",
    ),
    (
        "",
        re.compile(
            r"\b(?:(?:sk|pk|rk|gh[pousr]|glpat|hf|xox[abprs])[-_][\w-]{16,}+"
            r"|github_pat_\w{20,}+|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{35}|vx11_[\w-]{40,}+)",
            re.ASCII,
        ),
        "[redacted:key]",
    ),
    (
        "://",
        re.compile(r"(://[^\s/:@?#]{0,64}:)[^\s/@?#]{1,256}+(?=@)", re.ASCII),
        rf"\1{HIDDEN}",
    ),
    (
        "@",
        re.compile(
            r"(?<![\w.%+-])[\w.%+-]++@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}",
            re.ASCII,
        ),
        "[redacted:email]",
    ),
    ("pass", _assigned(r"[Pp](?i:ass(?:word|wd|phrase))"), rf"\1{HIDDEN}"),
    ("secret", _assigned(r"[Ss](?i:ecret)"), rf"\1{HIDDEN}"),
    (
        "key",
        _assigned(r"[AaPp](?i:pi|ccess|ccount|rivate)[_-]?[Kk](?i:ey)"),
        rf"\1{HIDDEN}",
    ),
    # A word of many meanings: what stands beside it must look like a secret, or its
    # name must be longer (access_token), quoted (JSON) or joined (?token=).
    (
        "token",
        re.compile(
            rf"([Tt](?i:oken)(?:(?<=[\w-].{{5}})|(?={_QUOTE})|(?==\S)){_SIGN}{_OPENING})"
            rf"{_SOME}(?!<|\d{{1,6}}\b)(?(2){_QUOTED}|{_WORD}{{4,}}+{_CALL})",
            re.ASCII,
        ),
        _token,
    ),
    (
        "token",
        re.compile(
            rf"([Tt](?i:oken)(?:{_SIGN}|\s++is\b){_OPENING})"
            rf"{_SOME}{_WORD}{{8,}}+{_CALL}",
            re.ASCII,
        ),
        _token_with_digit,
    ),
    (
        "",
        re.compile(
            r"\d(?<![\w.]\d)(?:(?:[ -]?\d){12,18}|\d{3}(?:\.\d{4}){3})(?![\w])",
            re.ASCII,
        ),
        _card,
    ),
)


class Redactor:
    """Replaces secrets in text and in JSON values. Threads may share it.

    `secrets` are the gateway's own, found by exact match wherever they stand. `until`
    is a time of the clock: what cannot be done by then ends in TooLate.
    """

    def __init__(self, secrets: Iterable[str] = (), clock: Clock = monotonic) -> None:
        self._secrets = tuple(s for s in secrets if s)
        self._clock = clock

    def until(self, seconds: float) -> float:
        """The time in so many seconds, as the methods below take it."""
        return self._clock() + seconds

    def text(self, text: str, until: float = inf) -> str:
        """Return the text with every known kind of secret replaced by its kind."""
        if len(text) < SHORTEST:
            return text
        self._require_time(until)
        text = self._without_ours(text)
        folded = text.lower()
        for sign, pattern, replacement in _PATTERNS:
            if sign in folded:
                if len(text) > LONG:
                    self._require_time(until, len(text) * SEARCH)
                text = pattern.sub(replacement, text)
        return text

    def _require_time(self, until: float, seconds: float = 0.0) -> None:
        if self._clock() + seconds > until:
            raise TooLate

    def name(self, name: str) -> str:
        """Return an id or the name of a model without what opens the gateway.

        Nothing else is taken out, else some ids would pass for cards.
        """
        name = self._without_ours(name)
        return _OUR_TOKEN.sub("[redacted:token]", name) if MARKER in name else name

    def holds_secret(self, name: str) -> bool:
        """Whether an id or name holds what opens the gateway."""
        return self.name(name) != name

    def value(self, value: Any, until: float = inf) -> Any:
        """Return a JSON value redacted throughout, including by sensitive keys.

        Under such a key all is redacted, but counts of tokens and schemas. What holds
        nothing to redact is returned itself: large answers are in memory once.
        """
        if isinstance(value, str):
            return self.text(value, until)
        self._require_time(until)
        if isinstance(value, Mapping):
            clean = {
                self.text(k, until): self._member(k, v, until) for k, v in value.items()
            }
            is_same = all(map(is_, clean, value)) and all(
                map(is_, clean.values(), value.values())
            )
            return value if is_same and isinstance(value, dict) else clean
        if isinstance(value, list):
            items = [self.value(item, until) for item in value]
            return value if all(map(is_, items, value)) else items
        if isinstance(value, tuple):
            return [self.value(item, until) for item in value]
        return value

    def _member(self, key: str, value: Any, until: float) -> Any:
        name = key.lower()
        if not _SENSITIVE_KEY.search(name):
            return self.value(value, until)
        self._require_time(until)
        return self._hidden(value, keeps_numbers=bool(_COUNTED.search(name)))

    def _hidden(self, value: Any, *, keeps_numbers: bool) -> Any:
        """The value's shape, with nothing in it."""
        if isinstance(value, Mapping):
            kept = _SCHEMA_WORDS if _is_schema(value) else ()
            return {
                self.text(k): self.value(v)
                if k in kept
                else self._hidden(v, keeps_numbers=keeps_numbers)
                for k, v in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._hidden(item, keeps_numbers=keeps_numbers) for item in value]
        is_number = isinstance(value, int | float)
        says_nothing = value in (None, "") or isinstance(value, bool)
        return value if says_nothing or (is_number and keeps_numbers) else HIDDEN

    def _without_ours(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "[redacted:token]")
        return text


def _is_schema(value: Mapping[str, Any]) -> bool:
    return value.get("type") in _SCHEMA_TYPES
