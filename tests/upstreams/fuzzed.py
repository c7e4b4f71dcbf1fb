"""Streams that are odd, broken or both, made from a seed, and what they say in full."""

import json
from dataclasses import dataclass
from random import Random

ALPHABET = ["a", "é", "日本", "👩‍👧", "\\n", '"', " ", "data: x", "\r", "[DONE]", "{"]
COMMENTS = [b": ping", b"retry: 10", b"id: 3", b"event", b"unknown: field"]
FIELDS = [b"data:", b"data: "] * 150 + [b"dbta: ", b"", b" data: "]
FAILURES = [
    b'{"error":{"message":"dead"}}',
    b'error: {"code":500,"message":"dead"}',
    b'{"object":"error","message":"dead"}',
    b'{"detail":"dead"}',
    b'{"choices":[{"index":0,"delta":{},"finish_reason":"network_error"}]}',
]
JUNK = [b'{"oops":', b"not json", b"[1, 2", b"nul", b"<html>", b'"text"', b"7"]


@dataclass(frozen=True)
class Fuzzed:
    """`pieces` as they come from the wire; `text` is all that was to be said."""

    text: str
    pieces: tuple
    is_cut: bool  # the connection broke, as far as the transport can tell
    tells_of_failure: bool = False  # somewhere before its end


def fuzzed(seed):
    random = Random(seed)
    words = ["So", *(_word(random) for _ in range(random.randrange(8)))]
    stream, tells_of_failure = _bytes(random, words)
    is_cut = random.random() < 0.6
    if is_cut:
        stream = stream[: random.randrange(len(stream) + 1)]
    broke = is_cut and random.random() < 0.5
    pieces = tuple(_pieces(random, stream))
    return Fuzzed("".join(words), pieces, broke, tells_of_failure)


def _word(random):
    return "".join(random.choices(ALPHABET, k=random.randrange(1, 4)))


def _bytes(random, words):
    ends = random.random() < 0.8, random.random() < 0.8  # finish reason, [DONE]
    chunks = [_chunk({"role": "assistant", "content": ""})] * random.randrange(2)
    chunks += [_chunk({"content": word}) for word in words]
    if random.random() < 0.3:
        at = random.randrange(len(chunks))
        chunks[at] = chunks[at][: random.randrange(1, len(chunks[at]))]
    fails = random.random() < 0.1
    if fails:
        chunks.insert(random.randrange(len(chunks) + 1), random.choice(FAILURES))
    if ends[0]:
        reason = random.choice(["stop", "length", "eos"] * 4 + ["abort"])
        fails |= reason == "abort"
        chunks.append(_chunk({}, reason))
        chunks += [b'{"choices":[],"usage":{"prompt_tokens":1}}'] * random.randrange(2)
    if ends[1]:
        chunks.append(b"[DONE]")
    return _framed(random, chunks), fails


def _chunk(delta, reason=None):
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}
    return json.dumps(frame, ensure_ascii=False).encode()


def _framed(random, chunks):
    end = random.choice([b"\n", b"\r\n", b"\r"])
    mark = b"\xef\xbb\xbf" * random.choice([0, 0, 0, 1, 2])
    lines = []
    for chunk in chunks:
        if random.random() < 0.1:
            lines.append(random.choice(COMMENTS))
        if random.random() < 0.1:
            lines += [b"data: " + random.choice(JUNK), b""]
        if random.random() < 0.05:
            lines.append(b"")
        lines += [_line(random, chunk), b""]
    return mark + end.join([*lines, b""])


def _line(random, chunk):
    if chunk.startswith(b"error:"):
        return chunk
    fields = FIELDS[:2] if chunk in FAILURES else FIELDS
    return random.choice(fields) + chunk


def _pieces(random, stream):
    most = random.choice([2, 30, 300, 65536, 65536])
    at = 0
    while at < len(stream):
        size = random.randrange(1, most + 1)
        yield stream[at : at + size]
        at += size
