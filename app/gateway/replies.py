"""Replies: a whole reply as deltas, and deltas as a whole reply, for every dialect."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.gateway.chat import NOTHING, ChatReply, Delta
from app.gateway.records.merge_choices import ChoiceMerger

Choice = Mapping[str, Any]


def as_deltas(reply: ChatReply) -> tuple[ChatReply, tuple[Delta, ...]]:
    """Turn a whole reply into a streamed one and its deltas; `as_whole` is the reverse.

    The choices of a whole reply have a `message`, those of a delta have a `delta`, and
    those of a streamed reply say only how each choice ended.
    """
    delta = Delta(reply.text, tuple(map(_as_piece, reply.choices)))
    ends = tuple(
        {"index": c.get("index", 0), "finish_reason": c.get("finish_reason")}
        for c in reply.choices
    )
    return reply._replace(choices=ends), (delta,)


def as_whole(reply: ChatReply, deltas: Sequence[Delta]) -> ChatReply:
    """Turn a streamed reply and all of its deltas into a whole reply.

    A reply whose deltas were text alone is whole as it is.
    """
    if not any(delta.choices for delta in deltas):
        return reply
    merger = ChoiceMerger()
    for delta in deltas:
        text = ({"delta": {"content": delta.text}},) if delta.text else ()
        # Servers with one choice may leave its number out.
        merger.add({"index": 0, **piece} for piece in delta.choices or text)
    merger.add(reply.choices)
    return reply._replace(choices=tuple(map(_as_choice, merger.choices())))


def _as_piece(choice: Choice) -> Choice:
    """A whole choice in the shape of a delta's, where tool calls are numbered."""
    delta, calls = _message_and_calls(choice, "message")
    if calls is not None:
        delta["tool_calls"] = [call | {"index": i} for i, call in enumerate(calls)]
    rest = {k: v for k, v in choice.items() if k != "message"}
    return {**rest, "delta": delta, "finish_reason": None}


def _as_choice(merged: Choice) -> Choice:
    """A choice of merged deltas in the shape of a whole reply's."""
    message, calls = _message_and_calls(merged, "delta")
    if calls is not None:
        message["tool_calls"] = calls
    rest = {k: v for k, v in merged.items() if k != "delta"}
    return {**rest, "message": {"role": "assistant", **message}}


def _message_and_calls(
    choice: Choice, key: str
) -> tuple[dict[str, Any], list[dict[str, Any]] | None]:
    """A copy of a message, and of its tool calls without their numbers, if any."""
    message = dict(choice.get(key) or NOTHING)
    calls = message.get("tool_calls")
    if not isinstance(calls, list) or not all(isinstance(c, Mapping) for c in calls):
        return message, None
    return message, [{k: v for k, v in c.items() if k != "index"} for c in calls]
