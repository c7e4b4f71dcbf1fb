"""Settings: everything an operator can choose, read once and validated.

The only reader of the environment. Values come from `VX11_*` variables, then from
the TOML file named by `VX11_CONFIG`, then from the defaults in `model`.
"""

from app.settings.entries import UpstreamSettings
from app.settings.loading import (
    changed,
    in_force,
    load,
    load_local,
    load_other,
    load_usable,
    name_of,
    origin,
    shown,
    told_at,
    warnings_about,
)
from app.settings.model import Settings
from app.settings.problems import SettingsError

__all__ = [
    "Settings",
    "SettingsError",
    "UpstreamSettings",
    "changed",
    "in_force",
    "load",
    "load_local",
    "load_other",
    "load_usable",
    "name_of",
    "origin",
    "shown",
    "told_at",
    "warnings_about",
]
