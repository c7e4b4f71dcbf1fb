"""TokenWatch: takes up changes of the file of tokens without a restart."""

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from app.gateway.access.tokens import Keyring, Token, TokensUnusable
from app.storage.tokens.file import parse_tokens, read_text, read_tokens

log = logging.getLogger(__name__)

# A change is taken up once it was seen twice alike, so that a file which is being
# written in place is not read in mid-write: 1 to 1.5 s after it, where 5 s are allowed.
LOOK_EVERY = 0.5
PATIENCE = 4  # looks; a file that never settles is then taken up as it is

Mark = tuple[int, ...]


class TokenWatch:
    """Keeps a keyring as the file says, from a thread of its own.

    A file that cannot be used changes nothing: what was last good stays, the error
    is logged once, and `Keyring.problems` says what it is. Requests never wait for
    the file. `on_look` is called after each look, twice a second.
    """

    def __init__(
        self,
        path: Path,
        keyring: Keyring,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._path, self._keyring = path, keyring
        self._on_look = on_look
        self._tokens: tuple[Token, ...] = ()
        self._taken: Mark = ()
        self._seen: Mark = ()
        self._restless = 0  # looks in a row that saw another change each
        self._was_empty = False  # at the last of those that read it
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="token-watch", daemon=True)

    def start(self, last_good: str | None = None) -> None:
        """Read the file and begin to watch it.

        One that cannot be used raises TokensUnusable, unless there is the text of
        when it was `last_good`. Call it after the fork.
        """
        self._taken = self._seen = mark_of(self._path)
        try:
            self._tokens = read_tokens(self._path)
            self._keyring.replace(self._tokens)
        except TokensUnusable as error:
            if last_good is None:
                raise
            self._tokens = parse_tokens(last_good)
            self._keyring.replace(self._tokens)
            self._reject(error.problems)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; a look that is under way is not waited for."""
        self._stopping.set()

    def look(self) -> None:
        """Look once; take up a change that is the same as at the last look."""
        mark = mark_of(self._path)
        is_settled, self._seen = mark == self._seen, mark
        if is_settled or mark == self._taken:
            self._restless = 0
            if mark != self._taken or self._keyring.problems:
                self._take_up(mark)
            return
        self._restless += 1
        if self._restless >= PATIENCE:
            self._take_up_unsettled(mark)

    def _take_up(self, mark: Mark) -> None:
        self._taken = mark
        try:
            tokens = read_tokens(self._path)
        except TokensUnusable as error:
            self._reject(error.problems)
        else:
            self._replace(tokens)

    def _take_up_unsettled(self, mark: Mark) -> None:
        """Take the file as it is if it is valid; without records, at the second look.

        Whoever writes in place empties it first.
        """
        with suppress(TokensUnusable):
            tokens = read_tokens(self._path)
            was_empty, self._was_empty = self._was_empty, not tokens
            if tokens or was_empty:
                self._restless, self._taken = 0, mark
                self._replace(tokens)

    def _replace(self, tokens: tuple[Token, ...]) -> None:
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
                self._on_look()
            except Exception:
                log.exception("Looking at VX11_TOKENS_FILE broke")


class LastGood:
    """The text of the file when it was last good, for workers that begin later.

    For gunicorn's master, which calls `look` now and then and serves nobody: after a
    token was revoked no worker may begin with what the file held before that. Raises
    TokensUnusable if it is not good at first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = self._seen = mark_of(path)
        self.text = _good_text(path)

    def look(self) -> None:
        """Take up a change that was seen before, unless the file is unusable now."""
        mark = mark_of(self._path)
        is_settled, self._seen = mark == self._seen, mark
        if is_settled and mark != self._taken:
            with suppress(Exception):  # the workers' watches tell what is wrong with it
                self.text = _good_text(self._path)
                self._taken = mark


def mark_of(path: Path) -> Mark:
    """What changes whenever the file does; () without one."""
    try:
        about = os.stat(path)
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


def _good_text(path: Path) -> str:
    text = read_text(path)
    parse_tokens(text, path)
    return text


def _tell(what: str, tokens: Iterable[Token]) -> None:
    """Log a change as it takes effect here; WARNING, so that no level hides it."""
    for token in tokens:
        log.warning("Token %s: name=%s, id=%s", what, token.caller.name, token.id)
