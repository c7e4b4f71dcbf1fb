"""Redaction: what must not be stored is taken out before a record is made.

This is the one place where it happens. Patterns are searched only where a cheap
sign of them is present, because every chat pays for this.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_SENSITIVE_KEY = re.compile(
    r"pass(word|wd|phrase)?|secret|token|api[_-]?key|authorization|cookie|credential",
    re.IGNORECASE,
)


SHORTEST = 5  # characters that hold a secret of any kind: a@b.c


def _passes_luhn(digits: str) -> bool:
    odd, even = digits[-1::-2], digits[-2::-2]
    total = sum(map(int, odd)) + sum(sum(divmod(2 * int(d), 10)) for d in even)
    return total % 10 == 0


def _card(match: re.Match[str]) -> str:
    digits = re.sub(r"[ -]", "", match[0])
    return "[redacted:card]" if _passes_luhn(digits) else match[0]


_Replacement = str | Callable[[re.Match[str]], str]

# (sign that must be present, pattern, what replaces a match)
_PATTERNS: tuple[tuple[str, re.Pattern[str], _Replacement], ...] = (
    (
        "-----BEGIN",
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)",
            re.DOTALL,
        ),
        "[redacted:pem]",
    ),
    (
        "eyJ",
        re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*", re.ASCII),
        "[redacted:jwt]",
    ),
    (
        "earer",
        re.compile(r"\b([Bb]earer)\s+[\w.~+/=-]{8,}", re.ASCII),
        r"\1 [redacted:bearer]",
    ),
    (
        "BEARER",
        re.compile(r"\bBEARER\s+[\w.~+/=-]{8,}", re.ASCII),
        "BEARER [redacted:bearer]",
    ),
    (
        "",
        re.compile(
            r"\b(?:(?:sk|pk|rk|gh[pousr]|glpat|hf|xox[abprs])[-_][\w-]{16,}"
            r"|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{35}|vx11_[\w-]{40,})",
            re.ASCII,
        ),
        "[redacted:key]",
    ),
    (
        "@",
        re.compile(
            r"\b[\w.%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}",
            re.ASCII,
        ),
        "[redacted:email]",
    ),
    (
        "",
        re.compile(
            r"(?i:\b(password|passwd|secret|api[_-]?key)\b\s*(?::|=|\bis\b)\s*)"
            r"(?!\[redacted)[^\s,;]{4,}",
            re.ASCII,
        ),
        r"\1: [redacted:secret]",
    ),
    ("", re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w])", re.ASCII), _card),
)


class Redactor:
    """Takes secrets out of text and of free-form values. Threads may share it.

    `secrets` are the gateway's own, found by exact match wherever they stand.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(s for s in secrets if s)

    def text(self, text: str) -> str:
        """Return the text with every known kind of secret replaced by its kind."""
        if len(text) < SHORTEST:
            return text
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "[redacted:token]")
        for sign, pattern, replacement in _PATTERNS:
            if sign in text:
                text = pattern.sub(replacement, text)
        return text

    def value(self, value: Any) -> Any:
        """Return a JSON value redacted throughout, including by sensitive keys."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(k): self._member(k, v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value

    def _member(self, key: str, value: Any) -> Any:
        if isinstance(value, str) and _SENSITIVE_KEY.search(key):
            return "[redacted:secret]"
        return self.value(value)
