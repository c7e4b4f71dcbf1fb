"""`config`: look at the settings before they matter."""

from collections.abc import Iterable

import click

from app.cli.behind_link import warnings_behind_link
from app.cli.client import settings_or_exit
from app.cli.exits import CONFIG, exit_codes
from app.cli.failing import Failure
from app.cli.screen import say_json, say_line
from app.gateway.routing.failover import least_shares
from app.settings import Settings, SettingsError, in_force, warnings_about
from app.wiring import check_files, problems_of_listed_kinds

NOBODY_MAY_COME_IN = (
    "VX11_TENTACULO_LINK_TOKEN: no token is set; `run` makes one for each run, "
    "and without `run` the gateway does not start"
)


@click.group(epilog=exit_codes("done", CONFIG))
def config() -> None:
    """Check the settings."""


@config.command(epilog=exit_codes("usable", _78="not usable"))
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def check(as_json: bool) -> None:
    """Name every error at once, or print what is in force; secrets stay hidden.

    Variables that nobody reads are told of, too; they are no errors.
    """
    try:
        settings = _checked()
    except Failure as failure:
        warnings = warnings_about()
        _warn(() if as_json else warnings)
        raise Failure(CONFIG, *failure.problems, warnings=warnings) from None
    warnings = [
        *_lacks(settings),
        *_cut(settings),
        *warnings_behind_link(settings),
        *warnings_about(settings),
    ]
    if as_json:
        say_json({**in_force(settings), "warnings": warnings}, indent=2)
        return
    for name, value in in_force(settings).items():
        say_line(f"{name:<28} {value}")
    _warn(warnings)


def _checked() -> Settings:
    try:
        settings = settings_or_exit()
    except Failure as failure:
        problems = [*failure.problems, *problems_of_listed_kinds()]
        raise Failure(CONFIG, *problems) from None
    try:
        check_files(settings)
    except SettingsError as error:
        raise Failure(CONFIG, *error.problems) from None
    return settings


def _lacks(settings: Settings) -> list[str]:
    has_none = settings.token is None and settings.auth_mode == "token"
    return [NOBODY_MAY_COME_IN] if has_none else []


def _cut(settings: Settings) -> list[str]:
    """Upstreams that may be ended before their own timeout."""
    upstreams = settings.effective_upstreams()
    shares = least_shares([one.timeout for one in upstreams], settings.chat_deadline)
    return [
        f"{one.name} may get only {share:.3g} of its {one.timeout:g} s, for all share "
        f"VX11_CHAT_DEADLINE ({settings.chat_deadline:g} s)"
        for one, share in zip(upstreams, shares, strict=True)
        if share < one.timeout
    ]


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        say_line(f"Warning: {warning}", err=True)
