"""`replay ask`: one record asked again, with what is different."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import click

from app.cli.client import GatewayClient, Refused
from app.cli.exits import (
    CONFIG,
    NO,
    NOT_ALLOWED,
    REFUSING,
    UNAVAILABLE,
    UNFAITHFUL,
    exit_codes,
)
from app.cli.failing import Failure
from app.cli.screen import say, say_json, say_line
from app.cli.shown.times import shown_duration

Command = TypeVar("Command", bound=Callable[..., Any])

CONFLICT, MISSING, INVALID = 409, 404, 422
MARKS = {"same": ("", ""), "gone": ("[-", "-]"), "new": ("{+", "+}")}

_CHANGES = (
    click.option("--model", help="The model to ask for.  [default: the same]"),
    click.option(
        "--temperature",
        type=click.FloatRange(0, 2),
        help="The temperature to ask with.  [default: the same]",
    ),
    click.option(
        "--redacted",
        is_flag=True,
        help="Ask all the same where words were redacted, with what stands for them.",
    ),
    click.option(
        "--yes-it-may-act",
        "may_act",
        is_flag=True,
        help="An upstream that acts on what it is asked (switch, madre) may act again.",
    ),
)


def changes(command: Command) -> Command:
    """Add the options that say what is to be different from the first time."""
    for option in reversed(_CHANGES):
        command = option(command)
    return command


def asked(record: str, upstream: str | None, changes: dict[str, Any]) -> dict[str, Any]:
    """The body that asks for a replay; what is not set is left out."""
    body = {"record": record, "upstream": upstream, **changes}
    return {name: value for name, value in body.items() if value not in (None, False)}


@click.command(
    epilog=exit_codes(
        "answered",
        UNFAITHFUL,
        UNAVAILABLE,
        REFUSING,
        NOT_ALLOWED,
        CONFIG,
        no="not answered, or there is no such record",
    )
)
@click.argument("record_id")
@click.option("--upstream", help="Whom to ask.  [default: who answered]")
@changes
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def ask(record_id: str, upstream: str | None, as_json: bool, **changes: Any) -> None:
    """Ask the question of a record again, and show what is different.

    It goes through the running gateway, with a token of the scope `replay`, while no
    user's chat waits.
    """
    client = GatewayClient.of_this_installation(for_streams=True)
    try:
        found = client.replay(asked(record_id, upstream, changes))
    except Refused as refused:
        raise _failure(refused) from None
    if as_json:
        say_json(found)
    else:
        for line in lines(found):
            say_line(line)
        say(_text(found["pieces"]))
    raise SystemExit(0 if found["after"]["outcome"] == "completed" else NO)


def _failure(refused: Refused) -> Failure:
    codes = {CONFLICT: UNFAITHFUL, MISSING: NO, INVALID: NO}
    hint = " (--redacted)" if "redacted" in str(refused) else ""
    hint = " (--yes-it-may-act)" if refused.code == "may_act" else hint
    why = f"It is not asked again: {refused}{hint}."
    return Failure(codes.get(refused.status, REFUSING), why, code=refused.code)


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The comparison for people: facts side by side, then the text word by word."""
    was, now, same = found["before"], found["after"], found["same"]
    yield f"Record {was['record']}, asked again of {found['upstream']}"
    if found["is_redacted"]:
        yield "It was asked with placeholders: this is not the same question."
    rows: dict[str, list[Any]] = {
        "": ["then", "now"],
        "record": [one["record"] for one in (was, now)],
        "outcome": [_joined(one["outcome"], one["code"]) for one in (was, now)],
        "finish": [one["finish_reason"] for one in (was, now)],
        "by": [_joined(one["provider"], one["model"]) for one in (was, now)],
        "took": [shown_duration(one["duration"] or 0.0) for one in (was, now)],
        "tokens": [_tokens(one) for one in (was, now)],
        "tools": [_joined(*(c["name"] for c in one["tools"])) for one in (was, now)],
    }
    differs = {"outcome": "outcome", "finish": "finish_reason", "tools": "tools"}
    for name, (then, since) in rows.items():
        mark = "" if same.get(differs.get(name), True) else "differs"
        yield f"  {name:<8} {then or '-':<34} {since or '-':<34} {mark}".rstrip()
    likeness = found["likeness"]
    if likeness is None:
        yield "The words of one of the answers are not kept."
        return
    yield f"Likeness {likeness:.2f}; [-gone-], {{+new+}}:"


def _text(pieces: Iterable[dict[str, str]]) -> str:
    """The text word by word, with what is gone and what is new in marks."""
    return "".join(
        MARKS[piece["kind"]][0] + piece["text"] + MARKS[piece["kind"]][1]
        for piece in pieces
    )


def _joined(*facts: str | None) -> str:
    return ", ".join(filter(None, facts))


def _tokens(answer: dict[str, Any]) -> str:
    return f"{answer['input_tokens'] or 0} in, {answer['output_tokens'] or 0} out"
