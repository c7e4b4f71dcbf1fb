"""Streams that come late, break, or are odd but whole (rows 36-39); refusals by model.

Asked for a whole answer, what breaks a stream breaks that, and the rest is fine.
"""

from sandbox.exchange import Exchange
from sandbox.faults.registry import Faults
from sandbox.openai import STREAM_END, STREAM_HEAD, chunk, error

fault = Faults()

PING = b": ping\n\n"
GARBAGE = b'data: {"oops": \n\n'
BOM = b"\xef\xbb\xbf"
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'


@fault(36)
def stream_late(x: Exchange, *, seconds: float = 20.0) -> None:
    """Headers and a role at once, the first word only later."""
    if not x.wants_stream:
        x.pause(seconds)
        x.respond(x.answer())
        return
    events = x.service.events(x.request)
    x.send(STREAM_HEAD + chunk(events.opening))
    x.pause(seconds)
    _send(x, *events.words, *events.closing, events.done)
    x.send(STREAM_END)


@fault(37, 39)
def stream_cut(
    x: Exchange, *, after: int = 40, reset: bool = False, clean: bool = False
) -> None:
    """So many words, then the connection ends; `clean`: the stream just stops."""
    if not x.wants_stream:
        _send_half(x)
        x.hang_up(reset=reset)
        return
    _begin(x, after)
    if clean:
        x.send(STREAM_END)
        return
    x.pause(0.1 if reset else 0)  # so that a reset does not overtake the words
    x.hang_up(reset=reset)


@fault(38)
def stream_stall(x: Exchange, *, after: int = 20, seconds: float = 30.0) -> None:
    """So many words, then silence for a while, then the rest."""
    if not x.wants_stream:
        _send_half(x)
        x.pause(seconds)
        x.hang_up()
        return
    _begin(x, after)
    x.pause(seconds)
    _finish(x, after)


@fault(36, 38)
def stream_heartbeats(
    x: Exchange, *, after: int = 0, interval: float = 0.5, roles: bool = False
) -> None:
    """So many words, then comments for ever, or empty deltas, and no word more."""
    if not x.wants_stream:
        x.pause(None)
    _begin(x, after)
    while True:
        _send(x, ROLE if roles else PING)
        x.pause(interval)


@fault(39)
def stream_malformed(x: Exchange, *, at: int = 10, instead: bool = False) -> None:
    """A broken event before the word of that number, or half of it in its place."""
    if not x.wants_stream:
        x.respond(x.answer())
        return
    _begin(x, at - 1)
    word = x.service.events(x.request).words[at - 1]
    half = word[: word.index(b"content") + 10] + b"\n\n"
    _send(x, half if instead else GARBAGE + word)
    _finish(x, at)


@fault(39)
def stream_no_done(x: Exchange, *, hold: bool = False) -> None:
    """A finish reason and usage, but no [DONE]; `hold`: nor an end of the body."""
    if not x.wants_stream:
        x.respond(x.answer())
        return
    events = x.service.events(x.request)
    _begin(x, len(events.words))
    _send(x, *events.closing)
    x.pause(None if hold else 0)
    x.send(STREAM_END)


@fault(39)
def stream_huge_line(x: Exchange, *, after: int = 10, size: int = 2_000_000) -> None:
    """So many words, then an event of this many bytes."""
    if not x.wants_stream:
        x.respond(x.answer())
        return
    _begin(x, after)
    _send(x, b"data: " + b"a" * size + b"\n\n")
    _finish(x, after)


@fault(39)
def stream_bad_utf8(x: Exchange, *, after: int = 10) -> None:
    """So many words, then one with bytes in it that are no UTF-8."""
    if not x.wants_stream:
        x.respond(x.answer())
        return
    _begin(x, after)
    word = x.service.events(x.request).words[after]
    _send(x, word.replace(b'"content":"', b'"content":"caf\xe9 \xff'))
    _finish(x, after + 1)


@fault(39)
def stream_error(
    x: Exchange, *, after: int = 10, text: str = "The engine is dead", code: str = "500"
) -> None:
    """So many words, then an error object where words should be."""
    if not x.wants_stream:
        x.respond(error(500, code, text))
        return
    _begin(x, after)
    _send(x, b"data: " + error(500, code, text).body + b"\n\n")
    x.send(STREAM_END)


@fault()
def stream_odd(x: Exchange) -> None:
    """A proper answer byte by byte: CRLF, comments, a byte order mark, no spaces."""
    if not x.wants_stream:
        x.respond(x.answer())
        return
    text = x.service.events(x.request).joined()
    text = text.replace(b"data: {", b": hello\nretry: 5\ndata:{\ndata:")
    x.send(STREAM_HEAD)
    for byte in BOM + text.replace(b"\n", b"\r\n"):
        x.send(chunk(bytes((byte,))))
    x.send(STREAM_END)


@fault(29)
def context_length(x: Exchange) -> None:
    """400: the conversation is too long for the model."""
    text = "This model's maximum context length is 8 tokens."
    x.respond(error(400, "context_length_exceeded", text))


@fault(29)
def content_filter(x: Exchange) -> None:
    """400: the content is not allowed."""
    x.respond(error(400, "content_filter", "It trips our content policy."))


@fault(29)
def rejects_prefill(x: Exchange) -> None:
    """400 for a conversation that ends with the assistant's words, else fine."""
    last = x.request.json()["messages"][-1]
    if last["role"] == "assistant":
        x.respond(error(400, "invalid_request_error", "Prefill is not supported."))
    else:
        x.service.serve(x)


@fault(29)
def unknown_model(x: Exchange) -> None:
    """404: no such model."""
    x.respond(error(404, "model_not_found", "The model does not exist."))


def _send(x: Exchange, *events: bytes) -> None:
    for event in events:
        x.send(chunk(event))


def _begin(x: Exchange, words: int) -> None:
    events = x.service.events(x.request)
    x.send(STREAM_HEAD)
    _send(x, events.opening, *events.words[:words])


def _finish(x: Exchange, after: int) -> None:
    events = x.service.events(x.request)
    _send(x, *events.words[after:], *events.closing, events.done)
    x.send(STREAM_END)


def _send_half(x: Exchange) -> None:
    answer = x.answer()
    x.send(answer.head() + answer.body[: len(answer.body) // 2])
