"""Names of settings: the variables that are read, and those that are set in vain."""

import os
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

PREFIX = "VX11_"
CONFIG = f"{PREFIX}CONFIG"
HANDED = f"{PREFIX}HANDED"  # set by gunicorn's master, for its workers only
# No settings of the gateway, but read: by us, by the commands, by tentaculo_link.
OTHERS = frozenset(
    {
        CONFIG,
        HANDED,
        f"{PREFIX}OPERATOR_URL",
        f"{PREFIX}OPERATOR_PROXY_ENABLED",
        f"{PREFIX}TENTACULO_URL",
    }
)

# Old names of settings, in the file and as variables; they are still read.
RENAMED = {"patience": "hang_check_after", "breaker_minimum": "breaker_min_calls"}

# By the name of a setting; the variable that goes first is first.
Variables = Mapping[str, tuple[str, ...]]

_USERINFO = re.compile(r"(?<=://)(?!/)\S*@")
_QUERY = re.compile(r"([?&][^=&\s]*=)[^&\s]*")


def variables_of(fields: Mapping[str, FieldInfo]) -> Variables:
    """The variables that are read for each setting."""
    return {name: _variables(name, field) for name, field in fields.items()}


def _variables(name: str, field: FieldInfo) -> tuple[str, ...]:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices if choice != name)
    return (f"{PREFIX}{name.upper()}",)


def environment(variables: Variables) -> dict[str, str]:
    """What the environment says, by setting; an empty variable counts as unset."""
    given = {name.upper(): value for name, value in os.environ.items() if value}
    said = {
        s: [given[n] for n in names if n in given] for s, names in variables.items()
    }
    return {setting: values[0] for setting, values in said.items() if values}


def variable_in_force(variables: tuple[str, ...]) -> str:
    """The one of a setting's variables that is set, else the one to set."""
    return next((name for name in variables if os.environ.get(name)), variables[0])


def unread_variables(variables: Variables, others: Collection[str]) -> list[str]:
    """A line for each VX11_* variable that nobody reads, with what may be meant."""
    known = {name for names in variables.values() for name in names}
    known |= OTHERS.union(others)
    upper = {name: name.upper() for name in sorted(os.environ)}
    return [
        f"{name}: is not read{_instead(meant, variables)}"
        for name, meant in upper.items()
        if meant.startswith(PREFIX) and meant not in known
    ]


def _instead(name: str, variables: Variables) -> str:
    """What may be meant: the setting of that name, else one that is spelt alike."""
    word = name.removeprefix(PREFIX)
    by_setting = variables.get(word.lower())
    all_names = [*OTHERS, *(n for names in variables.values() for n in names)]
    known = {n.removeprefix(PREFIX): n for n in sorted(all_names)}
    near = [known[match] for match in get_close_matches(word, known, n=1)]
    meant = by_setting or near
    return f"; did you mean {meant[0]}?" if meant else ""


def masked(value: Any) -> Any:
    """The value without what an address may hold of a secret."""
    if isinstance(value, str):
        return _QUERY.sub(r"\1***", _USERINFO.sub("***@", value))
    if isinstance(value, list):
        return [masked(item) for item in value]
    if isinstance(value, dict):
        return {key: masked(item) for key, item in value.items()}
    return value
