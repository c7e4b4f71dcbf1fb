"""Forms of secrets in text: what stands behind a name, in a header or in an address.

Patterns are searched only where a cheap sign of them is present, because every chat
pays for this. None takes more time than the length of the text: what repeats is
possessive or bounded. None begins with a case-blind letter or an assertion if it can
be helped, since those are searched several times slower.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

HIDDEN = "[redacted:secret]"

# What may stand between a name and its value in settings, code and JSON (also in JSON
# within JSON), and in prose. A group holds the quote before the value, if there is one.
_QUOTE = r"\\{0,3}[\"'`]"
_SIGN = rf"(?:{_QUOTE})?+\s*+(?:=>|:=|[:=])"
_OPENING = rf"\s*+(?P<quote>{_QUOTE})?+"
_SUFFIX = r"(?:[_-][\w-]{1,30}+|\d{1,3}|(?i:access)?[Kk]ey)?+"
# The value: not what was taken out already, or says that there is none.
_SOME = r"(?!\[redacted|(?i:null|none|true|false|undefined)\b)"
_QUOTED = r"(?:(?!(?P=quote))(?:[^\\\n]|\\.))++"
_WORD = r"[\w.~+/=%-]"
# Behind a word that is code and no secret. It is a part of the match, which is then
# left as it is: a pattern that failed here would look at all of it again and again.
_CALL = r"([(\[])?+"
_DIGIT = re.compile("[0-9]")
_HAS_DIGIT = r"(?=[A-Za-z_.~+/=%-]{0,64}\d)"

LEAST_IN_PROSE = 6  # characters of a value behind `password is`
_MARKS = "*_`.,!?:;()[]{}<>\"'"  # punctuation, and what makes a word stand out
_NO_WORD = re.compile(r"\d|[!@#$%^&+=|]")
# Words that stand behind `password:` and are none.
_PROSE = re.compile(
    r"(?i:an?|and|any|as|at|be|can|case-sensitive|chang\w+|characters?|enter|expired"
    r"|field|for|forg[eo]t\w*|from|hidden|how|i[fnst]|incorrect|input|invalid|length"
    r"|minimum|missing|must|my|needed|never|not?|of|one|only|optional|or|our|please"
    r"|protected|required|reset|rules|set|should|some|str|string|text|that|the|their"
    r"|this|to|type|use|user|we|what|when|which|with|wrong|your?)",
    re.ASCII,
)

Replacement = str | Callable[[re.Match[str]], str]


class Form(NamedTuple):
    """A sign in lower case that must be there, a pattern, and what replaces a match."""

    sign: str
    pattern: re.Pattern[str]
    replacement: Replacement


def _is_made(value: str) -> bool:
    """Whether a value is more likely a secret than a word of a sentence."""
    value = value.strip(_MARKS)
    return len(value) >= LEAST_IN_PROSE and bool(_NO_WORD.search(value))


def _assigned(match: re.Match[str]) -> str:
    """Behind a sign, all but words that describe a password; see _said."""
    if match["is"]:
        return _said(match)
    value = match[0][len(match[1]) :]
    is_prose = not match["quote"] and _PROSE.fullmatch(value.strip(_MARKS))
    return match[0] if is_prose and "=" not in match[1] else match[1] + HIDDEN


def _assigned_or_prose(match: re.Match[str]) -> str:
    """As _assigned; but behind a single word and a colon, only what is no word."""
    if match["is"]:
        return _said(match)
    name, value = match[1], match[0][len(match[1]) :]
    before = match.string[max(match.start() - 1, 0) : match.start()]
    is_joined = before.isalnum() or before in ("-", "_") or "_" in name or "-" in name
    is_prose = not (match["quote"] or is_joined or "=" in name or '"' in name)
    is_path = value.startswith(("/", "~", "$", "%")) and not match["quote"]
    return match[0] if is_path or (is_prose and not _is_made(value)) else name + HIDDEN


def _said(match: re.Match[str]) -> str:
    """Behind `is`, only what is no word, or quoted."""
    is_secret = match["quote"] or _is_made(match[0][len(match[1]) :])
    return match[1] + HIDDEN if is_secret else match[0]


def _named(
    sign: str, name: str, replacement: Callable[[re.Match[str]], str] = _assigned
) -> Form:
    """The form of a name with a value, behind a sign or behind `is`."""
    pattern = re.compile(
        rf"({name}(?:{_SUFFIX}{_SIGN}|\s++(?P<is>is)\b){_OPENING})"
        rf"{_SOME}(?(quote){_QUOTED}|[^\s,;]{{4,}}+)",
        re.ASCII,
    )
    return Form(sign, pattern, replacement)


def _token(match: re.Match[str]) -> str:
    return match[0] if match[3] else f"{match[1]}{HIDDEN}"


def _token_with_digit(match: re.Match[str]) -> str:
    return _token(match) if _DIGIT.search(match[0], len(match[1])) else match[0]


def _element(match: re.Match[str]) -> str:
    return match[0] if match[2].startswith("[redacted") else match[1] + HIDDEN


_NAMES = r"(?i:pass(?:word|wd|phrase|code)|pwd|secret|token|api[_-]?key)"

FORMS: tuple[Form, ...] = (
    Form(
        "-----begin",
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)",
            re.DOTALL,
        ),
        "[redacted:pem]",
    ),
    Form(
        "eyj",
        re.compile(r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+", re.ASCII),
        "[redacted:jwt]",
    ),
    Form(
        "bearer",
        re.compile(r"([Bb](?i:earer))\s++[\w.~+/=-]{8,}+", re.ASCII),
        r"\1 [redacted:bearer]",
    ),
    Form(
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
    Form(
        "cookie",
        re.compile(
            r"([Cc](?i:ookie)[\"']?\s*+:\s*+[\"']?)(?=[\w.$-]{1,64}=)[^\r\n\"']++",
            re.ASCII,
        ),
        rf"\1{HIDDEN}",
    ),
    # Up to the last @ in reach: a password may hold others. A port is none.
    Form(
        "://",
        re.compile(
            r"(://[^\s/:@?#\[]{0,64}:)(?!\d{1,5}(?:[/?#\s]|$))"
            r"(?:[^\s\"'<>@]{0,128}+@){1,4}+",
            re.ASCII,
        ),
        rf"\1{HIDDEN}@",
    ),
    # The user git is everybody's, and behind an @ without a domain is a version.
    Form(
        "@",
        re.compile(
            r"(?<![\w.%+-])(?!(?:git|hg|svn)@)[\w.%+-]++@"
            r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z][A-Za-z0-9-]{1,62}",
            re.ASCII,
        ),
        "[redacted:email]",
    ),
    # {"name": "password", "value": "..."}
    Form(
        "value",
        re.compile(
            rf"({_QUOTE}(?:name|key){_QUOTE}\s*+:\s*+{_QUOTE}"
            rf"(?:(?!{_NAMES})[\w.-]){{0,40}}+{_NAMES}[\w.-]{{0,40}}+{_QUOTE}\s*+,\s*+"
            rf"{_QUOTE}value{_QUOTE}\s*+:\s*+(?P<quote>{_QUOTE})){_SOME}{_QUOTED}",
            re.ASCII,
        ),
        rf"\1{HIDDEN}",
    ),
    # {"pin": 1234}: names that are words in prose, and none in JSON
    Form(
        '":',
        re.compile(
            r"(\\{0,3}\"(?:[\w-]{0,30}[_-])?(?i:pw|pin|auth)\\{0,3}\"\s*+:\s*+"
            rf"(?P<quote>{_QUOTE})?+){_SOME}(?(quote){_QUOTED}|\d{{3,}}+)",
            re.ASCII,
        ),
        rf"\1{HIDDEN}",
    ),
    # <password>...</password>
    Form(
        "</",
        re.compile(
            rf"(<(?:(?!{_NAMES})[\w:.-]){{0,40}}+{_NAMES}[\w:.-]{{0,40}}+"
            r"(?:\s[^<>]{0,200}+)?+>)([^<>]++)(?=</)",
            re.ASCII,
        ),
        _element,
    ),
    _named("pass", r"[Pp](?i:ass(?:word|wd|phrase|code))"),
    _named("pass", r"(?:P(?:ass|ASS)|p(?<![A-Za-z]p)ass)(?![a-z])", _assigned_or_prose),
    _named("pwd", r"(?:P(?:wd|WD)|p(?<![A-Za-z]p)wd)(?![a-z])", _assigned_or_prose),
    _named("secret", r"[Ss](?i:ecret)", _assigned_or_prose),
    _named("key", r"[AaPp](?i:pi|ccess|ccount|rivate)[_-]?[Kk](?i:ey)"),
    # A word of many meanings: what stands beside it must look like a secret, or its
    # name must be longer (access_token), quoted (JSON) or joined (?token=).
    Form(
        "token",
        re.compile(
            rf"([Tt](?i:oken)(?:(?<=[\w-].{{5}})|(?={_QUOTE})|(?==\S)){_SIGN}{_OPENING})"
            rf"{_SOME}(?!<|\d{{1,6}}\b)(?(quote){_QUOTED}|{_WORD}{{4,}}+{_CALL})",
            re.ASCII,
        ),
        _token,
    ),
    Form(
        "token",
        re.compile(
            rf"([Tt](?i:oken)(?:{_SIGN}|\s++is\b){_OPENING})"
            rf"{_SOME}{_WORD}{{8,}}+{_CALL}",
            re.ASCII,
        ),
        _token_with_digit,
    ),
)

SIGNS = tuple(dict.fromkeys(form.sign for form in FORMS))
