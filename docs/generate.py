"""`make docs`: write the pages that are made from the code.

tests/test_docs.py fails when a page differs from what this would write.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app import create_app
from app.cli import main as commands
from app.settings import Settings
from app.settings.entries import RouteSettings, UpstreamSettings
from app.settings.names import PREFIX
from app.web.request.auth import SCOPE
from docs.api_page import make_page

DOCS = Path(__file__).parent
TOLD = re.compile(r"; default: ([^.;]+)")  # of a default that is no plain value
BESIDE = {
    "VX11_CONFIG": "none | The TOML file. |",
    "VX11_OPERATOR_URL": "what `VX11_BIND` says | The gateway that `chat`, `status`"
    " and `explain` ask, and that `make acceptance` tests. |",
    "VX11_OPERATOR_PROXY_ENABLED": "none | Of tentaculo_link: without `1` it answers"
    " chats itself. `config check` looks at it. |",
    "VX11_TENTACULO_URL": "`http://localhost:8000` | The front door that"
    " `make acceptance` tests. |",
}
MADE = "<!-- Made by `make docs` from the code; do not edit. -->\n"


def settings_page() -> str:
    """Every setting, from the fields of Settings."""
    lines = [
        MADE,
        "# Settings\n",
        "Each may be an environment variable, or a key of the TOML file that"
        " `VX11_CONFIG` names: the variable's name without `VX11_`, in lower case."
        " The environment goes first, and an empty variable counts as unset."
        " `python -m app config check` names every mistake at once and prints what is"
        " in force.\n",
        "Where `[[upstreams]]` are listed, `VX11_SWITCH_*` and `VX11_MADRE_*` are not"
        " looked at.\n",
        "| Variable | Default | Meaning |",
        "|---|---|---|",
        *_rows(Settings),
        "\n## Read beside them\n",
        "| Variable | Default | Meaning |",
        "|---|---|---|",
        *(f"| `{name}` | {rest}" for name, rest in BESIDE.items()),
        "\n## `[[upstreams]]`\n",
        "In the TOML file, in the order of asking.\n",
        "| Key | Default | Meaning |",
        "|---|---|---|",
        *_rows(UpstreamSettings),
        "\n## `[[routes]]`\n",
        "In the TOML file. A model without a route goes to all upstreams, in order,"
        " after the one whose name it is, if there is one.\n",
        "| Key | Default | Meaning |",
        "|---|---|---|",
        *_rows(RouteSettings),
    ]
    return "\n".join(lines) + "\n"


def _rows(model: type[Any]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        shown = _variables(name, field) if model is Settings else f"`{name}`"
        meaning = TOLD.sub("", field.description or "")
        yield f"| {shown} | {_default(field)} | {meaning} |"


def _variables(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    choices = [c for c in getattr(alias, "choices", ()) if str(c).startswith(PREFIX)]
    return " or ".join(f"`{c}`" for c in choices) or f"`{PREFIX}{name.upper()}`"


def _default(field: FieldInfo) -> str:
    if told := TOLD.search(field.description or ""):
        return told[1]
    if field.default is PydanticUndefined:
        return "none" if field.default_factory else "required"
    if field.default in (None, (), ""):
        return "none"
    is_list = isinstance(field.default, tuple)
    return f"`{json.dumps(field.default) if is_list else field.default}`"


def commands_page() -> str:
    """The help of every command, as `--help` prints it."""
    lines = [MADE, "# Commands\n"]
    for path, command in _walk(commands, ["python -m app"]):
        with click.Context(command, info_name=" ".join(path)) as context:
            context.help_option_names = ["-h", "--help"]
            context.terminal_width = 80
            text = command.get_help(context)
        lines.append(
            f"## {' '.join(path[1:]) or 'python -m app'}\n\n```\n{text}\n```\n"
        )
    return "\n".join(lines)


def _walk(
    command: click.Command, path: list[str]
) -> Iterator[tuple[list[str], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _walk(command.commands[name], [*path, name])


def routes_page() -> str:
    """Every route with its methods and the scope that it asks for."""
    app = create_app(Settings(auth_mode="off"))
    lines = [MADE, "# Routes\n", "| Route | Methods | Scope | |", "|---|---|---|---|"]
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        view = app.view_functions[rule.endpoint]
        methods = ", ".join(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}))
        scope = getattr(view, SCOPE, None) or "none"
        meaning = (view.__doc__ or "").strip().splitlines()[:1]
        path = rule.rule.replace("<", "{").replace(">", "}")
        lines.append(f"| `{path}` | {methods} | {scope} | {''.join(meaning)} |")
    return "\n".join(lines) + "\n"


def api_page() -> str:
    """Every route for people; the gateway serves this file as it is."""
    return make_page(create_app(Settings(auth_mode="off")))


PAGES = {
    "../app/web/static/api.html": api_page,
    "settings.md": settings_page,
    "commands.md": commands_page,
    "routes.md": routes_page,
}


if __name__ == "__main__":
    for name, make in PAGES.items():
        (DOCS / name).write_text(make())
