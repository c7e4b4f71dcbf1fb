"""Watching the file of tokens, so that a change is in effect without a restart."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from threading import Event, Thread

from app.gateway.tokens import Keyring, Token, TokensUnusable
from app.storage.token_file import read_tokens

log = logging.getLogger(__name__)

# A change is taken up once it was seen twice alike, so that a file which is being
# written in place is not read in mid-write: 1 to 1.5 s after it, where 5 s are allowed.
LOOK_EVERY = 0.5

Mark = tuple[int, ...]


class TokenWatch:
    """Keeps a keyring as the file says, from a thread of its own.

    A file that cannot be used changes nothing: what was last good stays, the error
    is logged once, and `Keyring.problems` says what it is. Requests never wait for
    the file.
    """

    def __init__(self, path: Path, keyring: Keyring) -> None:
        self._path, self._keyring = path, keyring
        self._tokens: tuple[Token, ...] = ()
        self._taken: Mark = ()
        self._seen: Mark = ()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="token-watch", daemon=True)

    def start(self) -> None:
        """Read the file and begin to watch it. Raises TokensUnusable.

        Call it after the fork.
        """
        self._taken = self._seen = self._mark()
        self._tokens = read_tokens(self._path)
        self._keyring.replace(self._tokens)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; a look that is under way is not waited for."""
        self._stopping.set()

    def look(self) -> None:
        """Look once; take up a change that is the same as at the last look."""
        mark = self._mark()
        is_settled, self._seen = mark == self._seen, mark
        is_new = mark != self._taken or self._keyring.problems
        if is_settled and is_new:
            self._taken = mark
            self._take_up()

    def _mark(self) -> Mark:
        """What changes whenever the file does; () without one."""
        try:
            about = os.stat(self._path)
        except OSError:
            return ()
        return (
            about.st_dev,
            about.st_ino,
            about.st_size,
            about.st_mode,
            about.st_mtime_ns,
            about.st_ctime_ns,
        )

    def _take_up(self) -> None:
        try:
            tokens = read_tokens(self._path)
        except TokensUnusable as error:
            self._reject(error.problems)
            return
        before, self._tokens = self._tokens, tokens
        self._keyring.replace(tokens)
        _tell("made", set(tokens) - set(before))
        _tell("revoked", set(before) - set(tokens))

    def _reject(self, problems: tuple[str, ...]) -> None:
        if problems != self._keyring.problems:
            for problem in problems:
                log.error("VX11_TOKENS_FILE is not taken up: %s", problem)
        self._keyring.reject(problems)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY):
            try:
                self.look()
            except Exception:
                log.exception("Looking at VX11_TOKENS_FILE broke")


def _tell(what: str, tokens: Iterable[Token]) -> None:
    """Log a change as it takes effect here; WARNING, so that no level hides it."""
    for token in tokens:
        log.warning("Token %s: name=%s, id=%s", what, token.caller.name, token.id)
