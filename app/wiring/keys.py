"""Keys: who may come in, made of the settings: the environment's tokens, and a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.gateway.access.token_issuer import TokenIssuer
from app.gateway.access.tokens import LINK, Keyring, Token, TokensUnusable
from app.gateway.records.audit import Trail
from app.settings import Settings, SettingsError, told_at
from app.settings.handed import handed
from app.storage.tokens.edit import TokenFile
from app.storage.tokens.last_used import LastUsed
from app.storage.tokens.watch import LastGood, TokenWatch


def has_several_callers(settings: Settings) -> bool:
    """Whether there are callers to be told apart; with one token there is but one."""
    return settings.tokens_file is not None and settings.auth_mode != "off"


def keyring(settings: Settings) -> Keyring | None:
    """Make the keyring; None where authentication is off."""
    if settings.auth_mode == "off":
        return None
    return Keyring([Token.of(LINK, token) for token in plain_tokens(settings)])


def watch_tokens(
    settings: Settings,
    keyring: Keyring | None,
    on_look: Callable[[], None] = lambda: None,
) -> Callable[[], None]:
    """Keep the keyring as the file says; return what ends it.

    `on_look` is called now and then, from the thread that does so.

    Raises SettingsError for a file that cannot be used, unless we were handed what
    was in it when it was last good.
    """
    if settings.tokens_file is None or keyring is None:
        return lambda: None
    given = handed()
    watch = TokenWatch(settings.tokens_file, keyring, on_look)
    with _told_as("tokens_file"):
        watch.start(last_good=given.tokens if given else None)
    return watch.stop


def last_used(keyring: Keyring | None, folder: Path) -> LastUsed:
    """Make what keeps when tokens were last used, in the state folder."""
    return LastUsed(folder, keyring.used if keyring else dict)


def token_issuer(
    settings: Settings, trail: Trail, used: LastUsed
) -> TokenIssuer | None:
    """Make what makes and revokes tokens; None where there is no file of tokens."""
    if settings.tokens_file is None or settings.auth_mode == "off":
        return None
    is_required = settings.audit_mode == "required"
    store = TokenFile(settings.tokens_file)
    return TokenIssuer(store, trail, used, required=is_required)


def last_good_tokens(settings: Settings) -> LastGood | None:
    """Keep what is in the file of tokens, if there is one.

    Raises SettingsError with every problem of one that cannot be used.
    """
    if settings.tokens_file is None or not has_several_callers(settings):
        return None
    with _told_as("tokens_file"):
        return LastGood(settings.tokens_file)


@contextmanager
def _told_as(setting: str) -> Iterator[None]:
    try:
        yield
    except TokensUnusable as error:
        problems = [told_at(setting, problem) for problem in error.problems]
        raise SettingsError(problems) from None


def plain_tokens(settings: Settings) -> tuple[str, ...]:
    """The tokens of the environment, each once; the first is also shown to switch."""
    found = (settings.token, settings.operator_token)
    return tuple(dict.fromkeys(one.get_secret_value() for one in found if one))
