"""ChoiceMerger: merges the deltas of a streamed reply into whole choices.

An upstream chooses how many pieces there are and what numbers they bear, so each
takes the same time, however many came before: members are found by their number, and
the pieces of a text are joined once.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

# Told whole each time they are told; all other texts come in pieces.
_WHOLE = frozenset({"role", "type", "id", "index", "finish_reason"})


class _Text(list[str]):
    """The pieces of a text."""


class _Merged(dict[str, Any]):
    """An object that pieces were added to."""


class _Members(list[Any]):
    """The members of a list, and those that others may belong to by their index.

    To all others nothing is added any more, so that they are kept as they came.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_index: dict[Hashable, _Merged] = {}


class ChoiceMerger:
    """Merges pieces of choices into one choice for each index. One thread's."""

    def __init__(self) -> None:
        self._choices = _Members()

    def __bool__(self) -> bool:
        """Whether there is any piece."""
        return bool(self._choices)

    def add(self, pieces: Iterable[Mapping[str, Any]]) -> None:
        """Take in some more; the pieces themselves are left as they are."""
        _add_to_list(self._choices, pieces)

    def choices(self) -> list[dict[str, Any]]:
        """All that the pieces said so far."""
        return [_joined(choice) for choice in self._choices]


def _add(whole: dict[str, Any], piece: Mapping[str, Any]) -> None:
    for key, value in piece.items():
        if isinstance(value, Mapping):
            _add(_into(whole, key, _Merged), value)
        elif isinstance(value, list):
            _add_to_list(_into(whole, key, _Members), value)
        elif isinstance(value, str) and key not in _WHOLE:
            _into(whole, key, _Text).append(value)
        elif value is not None or key not in whole:
            whole[key] = value


def _into(whole: dict[str, Any], key: str, kind: type) -> Any:
    if not isinstance(whole.get(key), kind):
        whole[key] = kind()
    return whole[key]


def _add_to_list(whole: _Members, pieces: Iterable[Any]) -> None:
    """Members that have an index belong together; others follow one another."""
    for piece in pieces:
        if not isinstance(piece, Mapping):
            whole.append(piece)
            continue
        index = piece.get("index", 0)
        if not isinstance(index, Hashable):
            index = None
        member = whole.by_index.get(index) if "index" in piece else None
        if member is None and index in whole.by_index:
            whole.append(piece)
            continue
        if member is None:
            member = _Merged()
            whole.append(member)
            whole.by_index[index] = member
        _add(member, piece)


def _joined(value: Any) -> Any:
    if isinstance(value, _Text):
        return "".join(value)
    if isinstance(value, _Merged):
        return {key: _joined(member) for key, member in value.items()}
    if isinstance(value, _Members):
        return [_joined(member) for member in value]
    return value
