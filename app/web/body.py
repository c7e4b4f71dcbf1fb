"""Reading a request's body: bounded, whole, and plain JSON.

Flask's own limit lets a chunked body through cut, and neither Flask nor gunicorn
notices a short one (both measured), so doors read bodies here and nowhere else.
"""

import re
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from flask import Request
from pydantic_core import from_json
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    RequestEntityTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)

from app.web.errors import InvalidBody

# Without one of these no number is beyond what a float holds, so nothing is searched.
_EXPONENT = re.compile(rb"[eE](?<=\d.)\+?\d\d")
_MANY_DIGITS = re.compile(rb"\d(?<!\d\d)\d{299}")
_PLAIN_NAME = re.compile(r"[\w-]{1,40}", re.ASCII)


def read_json(request: Request, limit: int) -> Any:
    """Return the body as a JSON value; `limit` is in bytes.

    Raises 400 (broken framing), 413, 415, or InvalidBody when it is not JSON:
    strict UTF-8, no NaN, no number beyond a float's range (1e999), nesting up to
    about 200 levels.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Content-Type must be application/json")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType("Content-Encoding is not supported")
    body = read_body(request, limit)
    try:
        value = from_json(body, allow_inf_nan=False)
    except (ValueError, RecursionError):
        raise InvalidBody({"body": "is not valid JSON in UTF-8"}) from None
    if _EXPONENT.search(body) or (len(body) > 300 and _MANY_DIGITS.search(body)):
        _refuse_infinite(value)
    return value


def _refuse_infinite(value: Any) -> None:
    """The parser makes infinity of a number that is too large (measured)."""
    for path in _infinite(value):
        place = ".".join(path) or "body"
        raise InvalidBody({place: "must be a number that a float can hold"})


def _infinite(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where an infinite number stands. Nesting is bounded by the parser."""
    if isinstance(value, float) and not isfinite(value):
        yield path
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield from _infinite(member, (*path, _shown(key)))
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from _infinite(member, (*path, str(number)))


def _shown(key: str) -> str:
    """A key as it may be told; others may be anything, also a secret."""
    return key if _PLAIN_NAME.fullmatch(key) else "*"


def read_body(request: Request, limit: int) -> bytes:
    """Return exactly the bytes that were announced, at most `limit` of them."""
    length = request.content_length
    if length is not None and length > limit:
        raise RequestEntityTooLarge("the body is too large")
    body = _read(request.environ, limit + 1 if length is None else length)
    if length is None and len(body) > limit:
        raise RequestEntityTooLarge("the body is too large")
    if length is not None and len(body) != length:
        raise BadRequest("the body is shorter than its Content-Length")
    return body


def _read(environ: dict[str, Any], size: int) -> bytes:
    """Read up to `size` bytes; whatever breaks inside is the caller's framing.

    The worker sees to it that reading ends in time (see `connection.Source`).
    """
    pieces = []
    try:
        while size > 0 and (piece := environ["wsgi.input"].read(min(size, 65536))):
            pieces.append(piece)
            size -= len(piece)
    except HTTPException:
        raise
    except TimeoutError:
        raise RequestTimeout("the body did not arrive in time") from None
    except Exception as error:  # gunicorn's parse errors share no base class
        raise BadRequest("the body is not framed as HTTP asks") from error
    return b"".join(pieces)
