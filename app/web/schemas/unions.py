"""Unions: what a field holds that may be of several kinds, told without its value.

The tags stand in `<>`: they are no part of a field's name.
"""

from typing import Any

from pydantic import BaseModel, Discriminator


def by_type(default: str | None, *known: str, why: str = "") -> Any:
    """Tells the members of a union apart by their `type`, without repeating it."""

    def tag(given: Any) -> str | None:
        is_model = isinstance(given, BaseModel)
        if not (is_model or isinstance(given, dict)):
            return None
        kind = getattr(given, "type", None) if is_model else given.get("type", default)
        return f"<{kind}>" if kind in known else None

    return Discriminator(
        tag,
        custom_error_type="type",
        custom_error_message=f"must be an object of the type {' or '.join(known)}"
        + why,
    )


def text_or_list(given: Any) -> str:
    """Tells a text from a list of parts, for a union whose tags are in `<>`."""
    return "<list>" if isinstance(given, list) else "<text>"
