"""`token`: make, list and revoke the tokens that callers show."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from math import inf, isinf
from pathlib import Path
from time import time
from typing import Any

import click

from app.cli.exits import CONFIG, NAME, exit_codes
from app.cli.failing import Failure
from app.cli.screen import say_json, say_line
from app.gateway.access.token_issuer import WantedToken, make_token
from app.gateway.access.tokens import (
    ALL_SCOPES,
    NameTaken,
    NoSuchToken,
    Token,
    TokenStore,
    TokensUnusable,
    name_problem,
)
from app.gateway.chat import Priority
from app.settings import SettingsError, load_local
from app.wiring import token_store

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType[float]):
    """A point in time, as Unix time: a date, a date and time, or from now on."""

    name = "when"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Parse 90d, 12h, 2027-01-31 or 2027-01-31T12:00+01:00; no zone is UTC."""
        if isinstance(value, float):
            return value
        if span := re.fullmatch(r"(\d{1,5})([mhdw])", value):
            ahead = timedelta(**{_UNITS[span[2]]: int(span[1])})
            return float(round((datetime.now(UTC) + ahead).timestamp()))
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail("say 90d, 12h, 2027-01-31 or 2027-01-31T12:00Z", param, ctx)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Options and failures that all three commands share."""

    @click.option(
        "--file",
        "path",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The file of tokens.  [default: VX11_TOKENS_FILE]",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(command)
    def wrapped(path: Path | None, **options: Any) -> None:
        with _told():
            command(store=token_store(path or _configured()), **options)

    return wrapped


@contextmanager
def _told() -> Iterator[None]:
    """Turn what may go wrong into words and an exit code."""
    try:
        yield
    except NameTaken as name:
        message = f"There is a token of the name {name}. --rotate adds another one."
        raise Failure(NAME, message) from None
    except NoSuchToken as name:
        raise Failure(NAME, f"There is no such token of the name {name}.") from None
    except (TokensUnusable, SettingsError) as error:
        raise Failure(CONFIG, *error.problems) from None


def _configured() -> Path:
    path = load_local().tokens_file
    if path is None:
        raise SettingsError(["There is no file of tokens: VX11_TOKENS_FILE or --file"])
    return path


@click.group(epilog=exit_codes("done", NAME, CONFIG))
def token() -> None:
    """Make, list and revoke the tokens that callers show.

    Changes are in effect in the running gateway within 5 seconds. Only a digest of
    each token is kept, so a lost one cannot be found again: make a new one.
    """


def _usable_name(_ctx: click.Context, _param: click.Parameter, name: str) -> str:
    if problem := name_problem(name):
        raise click.BadParameter(problem)
    return name


@token.command(epilog=exit_codes("done", NAME, CONFIG))
@click.argument("name", callback=_usable_name)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(sorted(ALL_SCOPES)),
    multiple=True,
    help="What it may do; may be given several times.  [default: chat]",
)
@click.option(
    "--class",
    "priority",
    type=click.Choice([p.name.lower() for p in Priority]),
    help="Who is served first when not all can be.  [default: normal]",
)
@click.option(
    "--rate",
    type=click.IntRange(1, 1_000_000),
    help="Requests a minute, for all tokens of the name.  [default: no limit]",
)
@click.option(
    "--names-people",
    is_flag=True,
    help="It may say for which person and session it speaks, by header or `user`.",
)
@click.option(
    "--volume",
    type=click.IntRange(1, 4_000_000_000),
    help="Bytes of bodies a minute, for all tokens of the name.  [default: no limit]",
)
@click.option(
    "--not-before", type=Moment(), default=-inf, help="When it begins to be valid."
)
@click.option(
    "--expires",
    type=Moment(),
    default=inf,
    help="When it ends: 90d, 12h, 2027-01-31.  [default: never]",
)
@click.option(
    "--rotate",
    is_flag=True,
    help="Make one more of a name that there is, with its scopes, class, rate and "
    "volume and --names-people where none are given. Revoke the old one by its id when "
    "nobody uses it.",
)
@_common
def new(
    store: TokenStore, *, name: str, rotate: bool, as_json: bool, **options: Any
) -> None:
    """Make a token for NAME and print it, this once only.

    The token is all that goes to standard output, so that scripts can take it.
    """
    known = store.tokens() if rotate else ()
    secret, made = make_token(_wanted(name, **options), known, rotate=rotate)
    store.add(made, beside_others=rotate)
    if as_json:
        say_json({"token": secret} | _facts(made))
        return
    say_line(secret)
    say_line(f"Made {made.id} for {name}. It is not shown again.", err=True)


def _wanted(
    name: str, *, scopes: tuple[str, ...], priority: str | None, **options: Any
) -> WantedToken:
    chosen = Priority[priority.upper()] if priority else None
    return WantedToken(name, frozenset(scopes), chosen, **options)


@token.command("list", epilog=exit_codes("done", CONFIG))
@_common
def show(store: TokenStore, *, as_json: bool) -> None:
    """List the tokens: whose they are, what they may do, and whether they are valid."""
    facts = [_facts(known) for known in store.tokens()]
    if as_json:
        say_json(facts)
        return
    for line in _table(facts):
        say_line(line)


@token.command(epilog=exit_codes("done", NAME, CONFIG))
@click.argument("name")
@click.option("--id", "token_id", help="Only the one of this id; see `token list`.")
@_common
def revoke(
    store: TokenStore, *, name: str, token_id: str | None, as_json: bool
) -> None:
    """Revoke all tokens of NAME, or one of them."""
    gone = store.remove(name, token_id)
    if as_json:
        say_json([_facts(t) | {"state": "revoked"} for t in gone])
        return
    for token in gone:
        say_line(f"Revoked {token.id} of {token.caller.name}.")


def _facts(token: Token) -> dict[str, object]:
    """What may be shown of a token: neither it nor its digest."""
    return {
        "name": token.caller.name,
        "id": token.id,
        "state": token.state(time()),
        "scopes": sorted(token.caller.scopes),
        "class": token.caller.priority.name.lower(),
        "rate": token.caller.rate,
        "names_people": token.caller.names_people,
        "volume": token.caller.volume,
        "not_before": _date(token.not_before),
        "expires": _date(token.expires),
    }


def _date(moment: float) -> str | None:
    return None if isinf(moment) else datetime.fromtimestamp(moment, UTC).isoformat()


def _table(facts: list[dict[str, object]]) -> Iterator[str]:
    columns = ("name", "id", "state", "scopes", "class", "rate", "volume", "expires")
    rows = [[column.upper() for column in columns]]
    rows += [[_cell(fact, column) for column in columns] for fact in facts]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(cell.ljust(width) for cell, width in cells).rstrip()


def _cell(fact: Mapping[str, object], column: str) -> str:
    value = fact[column]
    if isinstance(value, list):
        return ",".join(value)
    return "-" if value is None else str(value)
