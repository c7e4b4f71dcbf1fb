"""Streams whose finish reasons, late words and ends are of every kind, from a seed.

All frames are proper ones; what is odd is their order and how the stream ends. The
oracle is the generator, which knows whether all was sent that was to be said.
"""

import json
from dataclasses import dataclass
from random import Random

from tests.upstreams.fuzzed import FAILURES

CLEAN, RESET, FAILURE = "clean", "reset", "failure"
WORDS = ["a ", "not ", "5 mg ", "é", "日本", "\n", '"']


@dataclass(frozen=True)
class FuzzedEnd:
    """`pieces` as they come from the wire; `text` is all that was to be said.

    `end` is how the stream ends after the pieces. `is_whole` is whether a reader may
    take what came for the whole answer.
    """

    text: str
    pieces: tuple
    end: str
    is_whole: bool
    calls: bool = False

    @property
    def is_cut(self):
        return self.end == RESET


def fuzzed_end(seed):
    random = Random(seed)
    frames, text, calls, is_ended = _frames(random)
    end = random.choice([CLEAN, CLEAN, RESET, RESET, FAILURE])
    if end == FAILURE:
        frames = frames[: random.randrange(1, len(frames) + 1)]
        frames = [f for f in frames if f != b"data: [DONE]\n\n"]
        frames.append(_framed(random.choice(FAILURES)))
    stream = b"".join(frames)
    at = _cut(random, frames) if end == RESET else len(stream)
    is_whole = is_ended and (end == CLEAN or (end == RESET and _said_so(stream[:at])))
    pieces = tuple(_pieces(random, stream[:at]))
    return FuzzedEnd(text, pieces, end, is_whole, calls)


def _cut(random, frames):
    """A byte of the stream; often the end of a frame, and that of the last ones."""
    if random.random() < 0.5:
        return random.randrange(len(b"".join(frames)) + 1)
    count = max(random.randrange(len(frames) + 1), random.randrange(len(frames) + 1))
    return len(b"".join(frames[:count]))


def _frames(random):
    """All frames, the text in them, whether there are calls, whether they end well."""
    words = [random.choice(WORDS) for _ in range(random.randrange(1, 8))]
    words[0] = "So "
    habit = random.choice(["last", "every", "some", "never"])
    frames = [_chunk({"role": "assistant", "content": ""}, _reason(random, habit))]
    frames += [_chunk({"content": word}, _reason(random, habit)) for word in words]
    calls = random.random() < 0.3
    if calls:
        frames += _calls(random, habit)
    is_done = random.random() < 0.6
    has_reason = b'"finish_reason": "' in b"".join(frames)
    if random.random() < 0.7 and habit != "never":
        frames.append(_chunk({}, "tool_calls" if calls else "stop"))
        has_reason = True
        frames += _late(random, words)
    if has_reason and not calls and random.random() < 0.4:
        frames.append(_framed(b'{"choices":[],"usage":{"prompt_tokens":1}}'))
    if is_done:
        frames.append(b"data: [DONE]\n\n")
    is_ended = has_reason or (is_done and not calls)
    return frames, "".join(words), calls, is_ended


def _late(random, words):
    """Words that a filter flushes behind the reason, with or without another one."""
    if random.random() < 0.6:
        return []
    words.append(" late")
    return [_chunk({"content": " late"}, random.choice([None, "stop"]))]


def _calls(random, habit):
    arguments = json.dumps({"q": random.choice(WORDS)})
    at = random.randrange(len(arguments))
    told = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}
    parts = [told] + [
        {"index": 0, "function": {"arguments": piece}}
        for piece in (arguments[:at], arguments[at:])
    ]
    return [_chunk({"tool_calls": [part]}, _reason(random, habit)) for part in parts]


def _reason(random, habit):
    often = {"every": 1.0, "some": 0.5}.get(habit, 0.0)
    return "stop" if random.random() < often else None


def _said_so(stream):
    """Whether a stream that was cut here had told before that it was at its end."""
    whole = [f for f in stream.split(b"\n\n")[:-1] if f.startswith(b"data:")]
    if not whole:
        return False
    return whole[-1] == b"data: [DONE]" or b'"usage"' in whole[-1]


def _chunk(delta, reason=None):
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}
    return _framed(json.dumps(frame, ensure_ascii=False).encode())


def _framed(data):
    return data + b"\n\n" if data.startswith(b"error:") else b"data: " + data + b"\n\n"


def _pieces(random, stream):
    most = random.choice([3, 40, 400, 65536])
    at = 0
    while at < len(stream):
        size = random.randrange(1, most + 1)
        yield stream[at : at + size]
        at += size
