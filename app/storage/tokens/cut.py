"""Cut: records taken out of the text of a file of tokens; all else stays."""

from itertools import takewhile

import tomlkit
from tomlkit.items import AoT, Comment, Item, Key

Line = tuple[Key | None, Item]


def without(text: str, cut: set[int]) -> str:
    """Cut out the records of these numbers, with the comments right above them."""
    document = tomlkit.parse(text)
    records = document["tokens"]
    if isinstance(records, AoT):
        at = next(n for n, (_, item) in enumerate(document.body) if item is records)
        bodies = [record.value.body for record in records]
        for number in sorted(cut, reverse=True):
            # What stands above a record is the end of what comes before it.
            body, end = bodies[number], len(bodies[number])
            of_next = [] if number + 1 == len(records) else _comments(body, end)
            before = bodies[number - 1] if number else document.body
            end = len(before) if number else at
            before[end - len(_comments(before, end)) : end] = of_next
            del bodies[number]
    for number in sorted(cut, reverse=True):
        del records[number]
    if not records:
        document.body[:] = [line for line in document.body if line[1] is not records]
    return document.as_string()


def _comments(body: list[Line], end: int) -> list[Line]:
    """The comments right above the line number `end`."""
    above = takewhile(lambda line: isinstance(line[1], Comment), body[end - 1 :: -1])
    return list(above)[::-1] if end else []
