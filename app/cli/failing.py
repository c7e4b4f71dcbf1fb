"""How a command fails: in words on stderr, or as JSON on stdout, with its exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from app.cli.screen import say_json, say_line

JSON = f"{__name__}.json"


class Failure(click.ClickException):
    """The end of a command that could not do its work.

    `problems` are whole sentences, a line for each; `facts` are for JSON only.
    """

    def __init__(
        self, exit_code: int, *problems: str, heading: str = "", **facts: Any
    ) -> None:
        super().__init__("; ".join(problems))
        self.exit_code = exit_code  # type: ignore[misc]  # click's own way
        self.problems = problems
        self.heading = heading
        self.facts = facts

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002  # click's
        """Print it for people."""
        indent = "  " if self.heading else ""
        for line in (
            *filter(None, [self.heading]),
            *(indent + p for p in self.problems),
        ):
            say_line(line, err=True)


class Commands(click.Group):
    """All commands; who asks for JSON has a failure as JSON too, whatever it is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click; what comes behind `--` are no options."""
        options = args[: args.index("--")] if "--" in args else args
        ctx.meta[JSON] = "--json" in options
        with _told(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """See click."""
        with _told(ctx):
            return super().invoke(ctx)


@contextmanager
def _told(ctx: click.Context) -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        if not ctx.meta[JSON]:
            raise
        say_json(_facts(error))
        ctx.exit(error.exit_code)


def _facts(error: click.ClickException) -> dict[str, Any]:
    message = error.format_message()
    problems = list(error.problems) if isinstance(error, Failure) else [message]
    facts = error.facts if isinstance(error, Failure) else {}
    return {
        "error": message,
        "problems": problems,
        "exit_code": error.exit_code,
        **facts,
    }
