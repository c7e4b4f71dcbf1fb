"""What an error of an OpenAI-speaking upstream tells, wherever the server put it.

An error is an object, a text, a list or a page; it may hold another one as JSON, or as
Python prints it. All of them become the same few things here. What a server quotes is
not its own phrasing: quoted parts, the caller's texts and the names of models are taken
out, so that nobody's words are searched for a verdict.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from app.gateway.chat import ChatRequest
from app.upstreams.openai.body_kinds import BLANK
from app.upstreams.openai.halves import mended

MOST_TEXTS = 5000  # of a request; its messages come first
MOST_PARTS = 32  # of one error: objects, texts and members of lists
MAX_SAID = 8192  # characters of each text; what matters stands at the beginning
SENTENCE = 12  # characters; a shorter text of the caller's may be a word of the server
MAX_CODE = 10**15  # a larger number names nothing, and Python may not print it
MAX_LABEL = 100  # characters of a code or type

LABELS = ("code", "type", "error_code", "error_type", "reason", "status")
PARTS = (
    "error",
    "errors",
    "message",
    "msg",
    "err",
    "error_msg",
    "error_message",
    "status_msg",
    "base_resp",
    "detail",
    "details",
    "metadata",
    "raw",
    "innererror",
    "choices",
)
# Seconds to rest, or milliseconds where the name says so; names without their gaps.
RESTS = ("retryafter", "retryafterseconds", "retrydelay", "retryin")
RESTS_MS = ("retryafterms", "retryaftermilliseconds")

_SAID = (str, Mapping, list)
_STATUS = re.compile(r"[45][0-9]{2}")
_NUMBER = re.compile(r"([0-9]{1,9}(?:\.[0-9]{0,9})?)s?")
# A rest that is told in words, as it stands in a plain text.
_REST = re.compile(
    r"\b(?:re)?try(?: again)? (?:in|after) (?:(\d{1,4}) ?m\w* ?)?"
    r"(\d{1,9}(?:\.\d{0,9})?) ?(ms|milli|m|h)?"
)
_UNITS = {"ms": 0.001, "milli": 0.001, "m": 60.0, "h": 3600.0}
# A member of an error within a text: JSON, or what Python prints.
_MEMBER = re.compile(
    r"""['"](error|message|msg|detail|code|type|param)['"]\s{0,9}:\s{0,9}"""
    r"""(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([0-9]{1,9})\b)"""
)
_QUOTED = re.compile(
    r"""(?<!\w)"[^"]*(?:"|$)|`[^`]*(?:`|$)|“[^”]*(?:”|$)|«[^»]*(?:»|$)|‘[^’]*(?:’|$)"""
    r"""|(?<!\w)'(?:[^']|(?<=\w)'(?=\w))*'(?!\w)"""
)
_TAG = re.compile(r"<[^<>]*>")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_GAPS = re.compile(r"[\s_-]+")
APART = "\0"  # what stands between texts while the caller's words are taken out
GONE = " … "  # what stands where a quoted part was


@dataclass(frozen=True, slots=True)
class Echo:
    """What a server may repeat of a request: the caller's texts and the models."""

    request: ChatRequest | None = None
    model: str = ""

    def taken_out_of(self, text: str) -> str:
        """The text without them."""
        if self.request is None:
            return text
        for theirs in self._texts():
            text = _without(text, theirs)
        for name in {self.model, self.request.model or ""} - {""}:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", GONE, text)
        return text

    def _texts(self) -> Iterator[str]:
        """All that the caller may have said: messages, their parts, tools, schemas."""
        asked = self.request
        if asked is None:
            return
        parts = deque[Any]([message.content for message in asked.messages])
        parts.extend(m.raw for m in asked.messages if m.raw)
        parts.append(asked.extra)
        for _ in range(MOST_TEXTS):
            if not parts:
                return
            part = parts.popleft()
            if isinstance(part, str):
                yield part
            elif isinstance(part, Mapping):
                parts.extend(v for v in part.values() if isinstance(v, _SAID))
            else:
                parts.extend(v for v in part if isinstance(v, _SAID))


NO_ECHO = Echo()


@dataclass(slots=True)
class ErrorReport:
    """What an error tells.

    `status` is the one within the error, None for none. `labels` are its codes and
    types, `words` the server's own phrasing, both in lower case, with spaces for all
    that parts words; `params` the fields that it names. `rest` is in seconds.
    """

    status: int | None = None
    labels: str = ""
    words: str = ""
    params: frozenset[str] = frozenset()
    rest: float | None = None


def parsed(body: bytes) -> Any:
    """The value of an error's body, which may be cut; its text if it is no JSON."""
    body = mended(body).lstrip(BLANK)
    try:
        value = from_json(body, allow_partial="trailing-strings")
    except ValueError:
        value = None
    is_text = isinstance(value, str) and body.rstrip().endswith(b'"')
    if is_text or isinstance(value, dict | list):
        return value
    return body.decode("utf-8", "replace")


def telling(value: Any, echo: Echo = NO_ECHO) -> ErrorReport:
    """Read an error of any shape; takes no more time than MOST_PARTS are worth."""
    report, parts, texts = ErrorReport(), deque([value]), list[str]()
    for _ in range(MOST_PARTS):
        if not parts:
            break
        part = parts.popleft()
        if isinstance(part, str):
            words, within = _read_text(part[:MAX_SAID], echo)
            texts.append(words)
            parts.extend(within)
        elif isinstance(part, Mapping):
            parts.extend(_take_object(report, part))
        elif isinstance(part, list):
            parts.extend(part[:MOST_PARTS])
    own = echo.taken_out_of(APART.join(texts)[:MAX_SAID]).split(APART)
    report.words = "\n".join(_plain(_QUOTED.sub(GONE, words)) for words in own)
    if report.rest is None and (found := _REST.search(report.words)):
        report.rest = _seconds(*found.groups())
    return report


def _seconds(minutes: str | None, number: str, unit: str | None) -> float:
    return 60.0 * float(minutes or 0) + float(number) * _UNITS.get(unit or "", 1.0)


def _take_object(report: ErrorReport, part: Mapping[str, Any]) -> list[Any]:
    """Take in an object's own facts; return what is to be read after it."""
    for name in LABELS:
        _take_label(report, part.get(name))
    if isinstance(param := part.get("param"), str):
        report.params |= {param}
    if isinstance(at := part.get("loc"), list) and at and isinstance(at[-1], str):
        report.params |= {at[-1]}
    for name, value in list(part.items())[:MOST_PARTS]:
        _take_rest(report, name, value)
    within = [part[name] for name in PARTS if part.get(name)]
    if isinstance(headers := part.get("headers"), Mapping):
        within.append(headers)
    return within


def _take_label(report: ErrorReport, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return
    if isinstance(value, int) and abs(value) > MAX_CODE:
        return
    label = str(value)[:MAX_LABEL]
    if _STATUS.fullmatch(label):
        report.status = report.status or int(label)
    else:
        report.labels += f"{_plain(label)}\n"


def _take_rest(report: ErrorReport, name: str, value: object) -> None:
    name = re.sub(r"[_-]", "", name[:MAX_LABEL].lower())
    if report.rest is not None or name not in (*RESTS, *RESTS_MS):
        return
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return
    if found := _NUMBER.fullmatch(str(value)[:MAX_LABEL]):
        report.rest = float(found[1]) / (1000 if name in RESTS_MS else 1)


def _read_text(text: str, echo: Echo) -> tuple[str, list[Any]]:
    """The words of a text; and the members of an error that stands within it."""
    if text.lstrip()[:1] in ("{", "["):
        value = parsed(text.encode("utf-8", "replace"))
        if not isinstance(value, str):
            return "", [value]
    at = text.find("{")
    if at < 0:
        return _TAG.sub(" ", text), []
    text = echo.taken_out_of(text)
    members = list(_MEMBER.finditer(text))
    words = _TAG.sub(" ", text[:at] if members else text)
    return words, [{name: _value(*values)} for name, *values in map(_groups, members)]


def _groups(member: re.Match[str]) -> tuple[str, str, str, str]:
    name, double, single, number = member.groups()
    return name, double or "", single or "", number or ""


def _value(double: str, single: str, number: str) -> str:
    try:
        if double:
            return str(from_json(f'"{double}"'))
    except ValueError:
        return double.replace('\\"', '"')
    return (single or number).replace("\\'", "'")


def _without(text: str, theirs: str) -> str:
    """A text without somebody's words, also where they are cut short."""
    head, at = theirs[: 2 * SENTENCE], -1
    if len(theirs) < SENTENCE:
        return text
    while (at := text.find(head, at + 1)) >= 0:
        text = text[:at] + GONE + text[at + _common(text[at:], theirs) :]
    return text


def _common(text: str, other: str) -> int:
    """How many characters two texts have in common at their beginnings."""
    pairs: Sequence[tuple[str, str]] = list(zip(text, other, strict=False))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))


def _plain(text: str) -> str:
    """A text in lower case, with spaces between all of its words, and `not` in full."""
    plain = _GAPS.sub(" ", _HUMP.sub(" ", text.replace("’", "'"))).lower().strip()
    return plain.replace("can't", "cannot").replace("n't", " not")
