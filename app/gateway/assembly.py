"""Assembly: what the deltas of a streamed reply come to, put together."""

from collections.abc import Iterable, Mapping
from typing import Any

# Told whole each time they are told; all other texts come in pieces.
_WHOLE = frozenset({"role", "type", "id", "index", "finish_reason"})


def assembled(pieces: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one choice for each index, with all that its pieces said."""
    choices: list[dict[str, Any]] = []
    for piece in pieces:
        _add_to_list(choices, [piece])
    return choices


def _add(whole: dict[str, Any], piece: Mapping[str, Any]) -> None:
    for key, value in piece.items():
        known = whole.get(key)
        if isinstance(value, Mapping):
            _add(_into(whole, key, dict), value)
        elif isinstance(value, list):
            _add_to_list(_into(whole, key, list), value)
        elif isinstance(value, str) and isinstance(known, str) and key not in _WHOLE:
            whole[key] = known + value
        elif value is not None or key not in whole:
            whole[key] = value


def _into(whole: dict[str, Any], key: str, kind: type) -> Any:
    if not isinstance(whole.get(key), kind):
        whole[key] = kind()
    return whole[key]


def _add_to_list(whole: list[Any], pieces: Iterable[Any]) -> None:
    """Members that have an index belong together; others follow one another."""
    for piece in pieces:
        if not isinstance(piece, Mapping):
            whole.append(piece)
            continue
        index = piece.get("index", 0)
        same = (m for m in whole if isinstance(m, dict) and m.get("index", 0) == index)
        member = next(same, None) if "index" in piece else None
        if member is None:
            member = {}
            whole.append(member)
        _add(member, piece)
