"""TokenFile: changes the file of tokens, one change at a time, whole or not at all.

Comments and everything else that an operator wrote stay as they are: a record is
put at the end or cut out, with the comment right above it. What comes out is read
again before it takes the old one's place.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from math import isinf
from pathlib import Path

from app.gateway.access.tokens import NameTaken, NoSuchToken, Token, TokensUnusable
from app.host.file_lock import FileLock
from app.host.files import sync_folder
from app.storage.tokens.file import parse_tokens, read_text, read_tokens

LOCK_LIMIT = 10.0  # seconds that a change waits for another one
HEADER = """\
# The tokens of the chat gateway. `python -m app token --help` makes and revokes
# them; changes are in effect within 5 seconds. Without records: tokens = []
"""
_NONE = re.compile(r"^\s*tokens\s*=\s*\[\s*\]\s*$\n?", re.MULTILINE)


class TokenFile:
    """Reads and changes the file; fulfils the port `TokenStore` (see there).

    Two commands at once wait for each other; the gateway only ever sees a whole
    file. A symbolic link is followed, so that its target is replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def tokens(self) -> tuple[Token, ...]:
        """See TokenStore."""
        return read_tokens(self.path)

    def add(self, token: Token, *, beside_others: bool) -> None:
        """See TokenStore."""
        with self._locked():
            before = self.tokens() if self.path.exists() else ()
            if not beside_others and any(
                known.caller.name == token.caller.name for known in before
            ):
                raise NameTaken(token.caller.name)
            text = read_text(self.path) if before or self.path.exists() else HEADER
            text = _NONE.sub("", text).rstrip("\n")
            self._replace(f"{text}\n\n{written(token)}", (*before, token))

    def remove(self, name: str, token_id: str | None = None) -> tuple[Token, ...]:
        """See TokenStore."""

        def goes(token: Token) -> bool:
            return token.caller.name == name and token_id in (None, token.id)

        with self._locked():
            before = self.tokens()
            gone = tuple(filter(goes, before))
            if not gone:
                raise NoSuchToken(name)
            left = tuple(token for token in before if not goes(token))
            cut = {number for number, token in enumerate(before) if goes(token)}
            # Loaded here: a worker, which removes nothing, does without these 40 ms.
            from app.storage.tokens.cut import without  # noqa: PLC0415

            text = without(read_text(self.path), cut)
            self._replace(text if left else f"{text.rstrip()}\n\ntokens = []\n", left)
        return gone

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self.path.with_name(self.path.name + ".lock"))
        try:
            lock.open()
            with lock.held_within(LOCK_LIMIT):
                yield
        except TimeoutError:
            why = f"{self.path}: another command is changing it"
            raise TokensUnusable([why]) from None
        except OSError as error:
            raise TokensUnusable([f"{self.path}: {error.strerror}"]) from None
        finally:
            lock.close()

    def _replace(self, text: str, expected: tuple[Token, ...]) -> None:
        """Put the text in the file's place, if it says what it should."""
        if not _says(text, expected):
            why = f"{self.path}: is written so that it must be edited by hand"
            raise TokensUnusable([why])
        fd, fresh = tempfile.mkstemp(prefix=".tokens-", dir=self.path.parent)
        try:
            with open(fd, "w", encoding="utf-8") as file:
                file.write(text)
                self._keep_owner(file.fileno())
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(fresh)
            raise
        sync_folder(self.path.parent)

    def _keep_owner(self, fd: int) -> None:
        """Root must not take the file away from the gateway's user."""
        os.fchmod(fd, 0o600)
        with suppress(FileNotFoundError):
            old = self.path.stat()
            os.fchown(fd, old.st_uid, old.st_gid)
            os.fchmod(fd, old.st_mode & 0o640)


def _says(text: str, expected: tuple[Token, ...]) -> bool:
    try:
        return parse_tokens(text) == expected
    except TokensUnusable:
        return False


def written(token: Token) -> str:
    """Return a record as it stands in the file."""
    caller = token.caller
    lines = [
        "[[tokens]]",
        f"name = {json.dumps(caller.name)}",
        f'sha256 = "{token.sha256.hex()}"',
        f"scopes = {json.dumps(sorted(caller.scopes))}",
        f'class = "{caller.priority.name.lower()}"',
    ]
    if caller.rate is not None:
        lines.append(f"rate = {caller.rate}")
    if caller.names_people:
        lines.append("names_people = true")
    if caller.volume is not None:
        lines.append(f"volume = {caller.volume}")
    for key, moment in (("not_before", token.not_before), ("expires", token.expires)):
        if not isinf(moment):
            lines.append(f"{key} = {datetime.fromtimestamp(moment, UTC).isoformat()}")
    return "\n".join(lines) + "\n"
