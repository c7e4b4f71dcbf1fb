"""Reading a request's body: bounded and whole. What is in it: see `values`.

Its values are counted as it comes in: of a megabyte that holds too many, a small part
is read (measured: 60 ms of everybody's time for a dozen of them, if all of it was).

Flask's own limit lets a chunked body through cut, and neither Flask nor gunicorn
notices a short one (both measured), so doors read bodies here and nowhere else.
"""

from typing import Any

from flask import Request
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    RequestEntityTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)

from app.gateway.strict_json import PIECE, ValueCounter
from app.web.request.context import environ_key
from app.web.request.errors import InvalidBody
from app.web.request.values import MOST_VALUES, parsed, too_many_values

CODING = environ_key("Content-Encoding")
JSON = "application/json"


def read_json(request: Request, limit: int) -> Any:
    """Return the body as a JSON value; raises as `read_plain` and `parsed` do."""
    return parsed(read_plain(request, limit))


def read_plain(request: Request, limit: int, most: int = MOST_VALUES) -> bytes:
    """Return the body of a request that says it is JSON, unread; `limit` is in bytes.

    Raises 400 (broken framing), 413, 415, or InvalidBody as soon as it holds too many
    values; whatever of it is still to come is then not read.
    """
    is_json = request.environ.get("CONTENT_TYPE") == JSON  # as nearly all say it
    if not is_json and request.mimetype != JSON:
        raise UnsupportedMediaType("Content-Type must be application/json")
    if request.environ.get(CODING, "identity") != "identity":
        raise UnsupportedMediaType("Content-Encoding is not supported")
    return read_body(request, limit, most)


def read_body(request: Request, limit: int, most: int = MOST_VALUES) -> bytes:
    """Return exactly the bytes that were announced, at most `limit` of them.

    They may hold `most` values of JSON.
    """
    length = request.content_length
    if length is not None and length > limit:
        raise RequestEntityTooLarge("the body is too large")
    body = _read(request.environ, limit + 1 if length is None else length, most)
    if length is None and len(body) > limit:
        raise RequestEntityTooLarge("the body is too large")
    if length is not None and len(body) != length:
        raise BadRequest("the body is shorter than its Content-Length")
    return body


def _read(environ: dict[str, Any], size: int, most: int) -> bytes:
    """Read up to `size` bytes; whatever breaks inside is the caller's framing.

    The worker sees to it that reading ends in time (app/server/connection.py).
    """
    pieces, values = [], ValueCounter()
    may_hold_too_many = size > most
    try:
        while size > 0 and (piece := environ["wsgi.input"].read(min(size, PIECE))):
            if may_hold_too_many:
                _count(values, piece, most)
            pieces.append(piece)
            size -= len(piece)
    except (HTTPException, InvalidBody):
        raise
    except TimeoutError:
        raise RequestTimeout("the body did not arrive in time") from None
    except Exception as error:  # gunicorn's parse errors share no base class
        raise BadRequest("the body is not framed as HTTP asks") from error
    return b"".join(pieces)


def _count(values: ValueCounter, piece: bytes, most: int) -> None:
    values.feed(piece)
    if values.found > most:
        raise too_many_values(most)
