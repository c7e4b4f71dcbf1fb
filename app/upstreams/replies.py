"""Replies: from an answer's bytes to a model, or to the fault that it is."""

from contextlib import suppress
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from app.gateway.budget import Budget
from app.gateway.chat import ChatReply
from app.gateway.errors import BadReply, Interrupted, UpstreamError
from app.gateway.handler import ReplyStream
from app.gateway.strict_json import holds_more_values
from app.upstreams.http.transport import Answer, Exchange

T = TypeVar("T")

# In 2 MB of tokens with their probabilities there are 270,000 values, of which 65,000
# are lists and objects. An object takes 240 bytes, any other value up to 90.
MOST_VALUES = 420_000
MOST_CONTAINERS = 100_000
MOST_TOKENS = 2**31  # of one answer; four billion of these add up in a database
MAX_MODEL = 200  # characters of a model's name, as of one that a caller asks for

_NOT_AN_OBJECT = frozenset({"model_type", "model_attributes_type", "dict_type"})


def parse(answer: Answer, shape: TypeAdapter[T], most: int = MOST_VALUES) -> T:
    """Return the body, of at most so many values, as that shape.

    Raises BadReply: `bad_encoding` if it is not UTF-8 throughout, `bad_json` if it
    is no JSON object, `schema` if it is one of another shape, `too_large` if it holds
    too many values. Depth and the size of numbers are limited by pydantic.
    """
    _require_utf8(answer)
    if holds_more_values(answer.body, most, MOST_CONTAINERS):
        raise marked(BadReply("too_large"), answer)
    try:
        # What pydantic itself would parse is in memory twice (measured: 58 MB for 36).
        return shape.validate_python(from_json(answer.body))
    except ValidationError as error:
        raise marked(BadReply(_misshaped(error)), answer) from None
    except ValueError as error:
        raise marked(BadReply(_broken(error)), answer) from None


def beginning_of(exchange: Exchange, budget: Budget, most: int) -> bytes:
    """As much of a body as comes in time, at most so many bytes; for errors."""
    exchange.rearm(budget)
    body = bytearray()
    with suppress(UpstreamError):
        for piece in exchange.pieces():
            body += piece
            if len(body) > most:
                break
    return bytes(body[:most])


def token_count(value: object) -> int | None:
    """A number of tokens as a server tells it; None for one that cannot be.

    Servers whose language has but one kind of number write 5 as 5.0.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < MOST_TOKENS else None


def model_name(*names: str | None, secret: str = "") -> str:
    """Return the first of these that can be a model's name; "" if there is none.

    One that is longer than MAX_MODEL, is blank, holds what cannot be printed (line
    ends, controls) or our `secret` counts as not told: it goes into records, headers
    of streams and other people's screens, but no answer is lost for a bad label.
    """
    return next((name for name in names if name and _is_name(name, secret)), "")


def _is_name(name: str, secret: str) -> bool:
    is_label = len(name) <= MAX_MODEL and name.isprintable() and not name.isspace()
    return is_label and not (secret and secret in name)


def whole(
    reply: ChatReply, answer: Answer, *, is_streamed: bool = False
) -> ReplyStream:
    """Wrap a complete reply as a stream that knows what came over the wire."""
    stream = ReplyStream.whole(reply, is_streamed=is_streamed)
    stream.received, stream.status = answer.received, answer.status
    return stream


def collected(stream: ReplyStream, exchange: Exchange) -> ReplyStream:
    """The whole reply of a server that streams where nobody asked for it."""
    try:
        reply = stream.collect()
    except Interrupted as error:  # nothing of it has reached anybody
        failed = BadReply(error.fault)
        failed.status, failed.received = exchange.status, exchange.received
        raise failed from None
    return whole(reply, Answer(exchange.status, b"", exchange.received))


def marked(error: UpstreamError, answer: Answer) -> UpstreamError:
    """Note on an error which answer it is about."""
    error.status, error.received = answer.status, answer.received
    return error


def _require_utf8(answer: Answer) -> None:
    """UTF-16 without a mark is valid UTF-8 full of NULs, which no JSON text holds."""
    body = answer.body
    if body.startswith(b"\xef\xbb\xbf") or b"\0" in body or not _decodes(body):
        raise marked(BadReply("bad_encoding"), answer)


def _decodes(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _broken(error: ValueError) -> str:
    # All that the parser says about half of a surrogate pair.
    return "bad_encoding" if "hex escape" in str(error) else "bad_json"


def _misshaped(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    is_whole = not first["loc"]
    return "bad_json" if is_whole and first["type"] in _NOT_AN_OBJECT else "schema"
