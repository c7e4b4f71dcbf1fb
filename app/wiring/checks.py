"""Checks: whether a worker could start with these settings, found out beforehand.

gunicorn's master asks at a start and before a reload, when saying no costs nobody
anything. A worker that finds it out by itself would be one worker less.
"""

import os
from collections.abc import Callable, Iterable

from app.settings import Settings, SettingsError
from app.settings.loading import listed_upstreams
from app.storage.audit.errors import StoreFailed
from app.storage.shared.shared_memory import SharedMemory
from app.wiring import keys, parts

Check = Callable[[Settings], object]


def check_all(settings: Settings, before: Settings | None = None) -> None:
    """Raise SettingsError with everything that no worker could start with.

    The audit database is made and migrated if need be; but where workers with the
    settings `before` write to it, one that is gone is missed.
    """
    checks = {
        **FILES,
        "VX11_AUDIT_URL": _audit,
        "VX11_ANCHOR_FILE": _anchor_file,
        "VX11_SHARED_DIR": _shared_dir,
    }
    if before and before.audit_url == settings.audit_url:
        checks["VX11_AUDIT_URL"] = _audit_that_was_begun
    problems = list(_problems(settings, checks))
    if problems:
        raise SettingsError(problems)


def check_files(settings: Settings) -> None:
    """As `check_all`, but only of what can be looked at without changing anything."""
    problems = list(_problems(settings, FILES))
    if problems:
        raise SettingsError(problems)


def problems_of_listed_kinds() -> list[str]:
    """What is wrong with the kinds of upstreams where the settings cannot be read."""
    kinds = [(one.get("kind"), one) for one in listed_upstreams()]
    return parts.problems_of_kinds(
        (kind if isinstance(kind, str) else None, keys) for kind, keys in kinds
    )


def check_addresses(settings: Settings, before: Settings) -> None:
    """Raise SettingsError if these settings say to listen elsewhere than before.

    gunicorn opens all addresses anew or none, and ends where one cannot be had, as
    one that its workers still listen at.
    """
    pairs = {
        "VX11_BIND": (settings.bind, before.bind),
        "VX11_METRICS_BIND": (settings.metrics_bind, before.metrics_bind),
    }
    problems = [
        f"{variable}: changes at a restart only"
        for variable, (new, old) in pairs.items()
        if new != old
    ]
    if problems:
        raise SettingsError(problems)


def _problems(settings: Settings, checks: dict[str, Check]) -> Iterable[str]:
    for variable, check in checks.items():
        try:
            check(settings)
        except SettingsError as error:
            yield from error.problems
        except (OSError, StoreFailed) as error:
            yield f"{variable}: {getattr(error, 'strerror', None) or error}"
        except Exception as error:
            yield f"{variable}: cannot be used ({type(error).__name__})"


def _audit(settings: Settings) -> None:
    parts.audit(settings).trail().close()


def _audit_that_was_begun(settings: Settings) -> None:
    parts.audit(settings).trail(may_begin=False).close()


def _anchor_file(settings: Settings) -> None:
    """A file that can be added to; it may be one that can only be added to."""
    if settings.anchor_file:
        settings.anchor_file.open("a").close()


def _shared_dir(settings: Settings) -> None:
    """A folder that somebody chose; by default there are others."""
    if settings.shared_dir:
        SharedMemory(settings.shared_dir / f"vx11-trial-{os.getpid()}").close()


def _transport(settings: Settings) -> None:
    parts.transport(settings).close()


FILES: dict[str, Check] = {
    "VX11_UPSTREAMS": parts.require_kinds,
    "VX11_TOKENS_FILE": keys.last_good_tokens,
    "VX11_TLS_CA": _transport,
    "VX11_AUDIT_URL": parts.audit,
}
