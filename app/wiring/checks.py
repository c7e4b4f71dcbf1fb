"""Checks: whether a worker could start with these settings, found out beforehand.

gunicorn's master asks at a start and before a reload, when saying no costs nobody
anything. A worker that finds it out by itself would be one worker less.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import monotonic, sleep

from app.gateway.errors import AuditUnavailable
from app.host.addresses import problem_at
from app.host.files import shown_path
from app.settings import Settings, SettingsError, load_usable, told_at
from app.settings.loading import listed_upstreams
from app.storage.audit.errors import StoreFailed
from app.storage.shared.shared_memory import SharedMemory
from app.wiring import keys, parts

Check = Callable[[Settings], object]
AT_RESTART_ONLY = ("bind", "metrics_bind")
# Variables by which systemd, and gunicorn itself, hand over sockets that listen.
HANDED_SOCKETS = ("LISTEN_FDS", "GUNICORN_FD")
STOPPING, PAUSE = 5.0, 0.2  # seconds that whoever stops there gets to be gone


def load_checked() -> Settings:
    """Read the settings of a gateway that is to start.

    Raises SettingsError with every problem of theirs, and of the files that they name.
    """
    settings, problems = load_usable(needs_token=True)
    if problems:
        raise SettingsError([*problems, *problems_of_files(settings)])
    return settings


def check_all(settings: Settings, before: Settings | None = None) -> None:
    """Raise SettingsError with everything that no worker could start with.

    The audit database is made and migrated if need be; but where workers with the
    settings `before` write to it, one that is gone is missed, and one that they are to
    change to must have room and take a write now. Nor may these settings say to listen
    elsewhere than before.
    """
    checks = {
        **FILES,
        "audit_url": _audit,
        "anchor_file": _anchor_file,
        "shared_dir": _shared_dir,
    }
    problems = []
    if before:
        is_same = before.audit_url == settings.audit_url
        checks["audit_url"] = _audit_that_was_begun if is_same else _writable_audit
        problems = list(_moved(settings, before))
    problems += _problems(settings, checks)
    if problems:
        raise SettingsError(problems)


def require_free(settings: Settings) -> None:
    """Wait until nobody listens at the addresses of a gateway that is to start.

    Raises SettingsError if somebody still does after a while: gunicorn would say so in
    ten lines, and not by which setting. Sockets that are handed over listen already.
    """
    if any(name in os.environ for name in HANDED_SOCKETS):
        return
    until = monotonic() + STOPPING
    while problems := list(_problems_of_addresses(settings)):
        if monotonic() >= until:
            raise SettingsError(problems)
        sleep(PAUSE)


def check_reload(before: Settings) -> Settings:
    """Read the settings of now, for workers in the place of those that run.

    Raises SettingsError with every problem, as `load_checked` and `check_all` do.
    """
    settings, problems = load_usable(needs_token=True)
    if problems:
        others = [*_moved(settings, before), *problems_of_files(settings)]
        raise SettingsError(list(dict.fromkeys([*problems, *others])))
    check_all(settings, before)
    return settings


def problems_of_files(settings: Settings) -> list[str]:
    """As `check_all`, but only of what can be looked at without changing anything.

    Settings that cannot be used have their defaults here; what is wrong with kinds of
    upstreams is told all the same.
    """
    told = [*_problems(settings, LOOKS), *problems_of_listed_kinds()]
    return list(dict.fromkeys(told))


def warnings_of_places(settings: Settings) -> list[str]:
    """What is odd about the folders of settings that can be used."""
    told = []
    try:
        found = parts.audit(settings).look()
        told = [told_at("audit_url", words) for words in found]
    except (SettingsError, StoreFailed):
        pass  # a problem, and told as one
    folder = settings.metrics_dir
    if folder and not (folder.is_dir() and os.access(folder, os.W_OK)):
        words = "is no folder that can be written to; nothing is measured"
        told.append(told_at("metrics_dir", f"{shown_path(folder)} {words}"))
    return told


def problems_of_listed_kinds() -> list[str]:
    """What is wrong with the kinds of upstreams where the settings cannot be read."""
    kinds = [(one.get("kind"), one) for one in listed_upstreams()]
    return parts.problems_of_kinds(
        (kind if isinstance(kind, str) else None, keys) for kind, keys in kinds
    )


def _problems_of_addresses(settings: Settings) -> Iterator[str]:
    for name in AT_RESTART_ONLY:
        address = getattr(settings, name)
        if address and (problem := problem_at(address)):
            yield told_at(name, f"{address} {problem}")


def _moved(settings: Settings, before: Settings) -> Iterator[str]:
    """Addresses that are others than before.

    gunicorn opens all addresses anew or none, and ends where one cannot be had, as
    one that its workers still listen at.
    """
    for name in AT_RESTART_ONLY:
        if getattr(settings, name) != getattr(before, name):
            yield told_at(name, "changes at a restart only")


def _problems(settings: Settings, checks: Mapping[str, Check]) -> Iterator[str]:
    for name, check in checks.items():
        try:
            check(settings)
        except SettingsError as error:
            yield from error.problems
        except OSError as error:
            where = (
                f"{shown_path(Path(str(error.filename)))}: " if error.filename else ""
            )
            yield told_at(name, f"{where}{error.strerror or 'cannot be used'}")
        except StoreFailed as error:
            yield told_at(name, str(error).removeprefix(f"{error.reason}: "))
        except Exception as error:
            yield told_at(name, f"cannot be used ({type(error).__name__})")


def _audit(settings: Settings) -> None:
    parts.audit(settings).trail().close()


def _audit_that_was_begun(settings: Settings) -> None:
    parts.audit(settings).trail(may_begin=False).close()


def _writable_audit(settings: Settings) -> None:
    """Another database than that of before: workers must not be exchanged for 503s."""
    trail = parts.audit(settings).trail()
    try:
        trail.check()
    except AuditUnavailable as error:
        words = f"the database cannot be written to now ({error})"
        raise SettingsError([told_at("audit_url", words)]) from None
    finally:
        trail.close()


def _look_at_audit(settings: Settings) -> None:
    parts.audit(settings).look()


def _anchor_file(settings: Settings) -> None:
    """A file that can be added to; it may be one that can only be added to."""
    if settings.anchor_file:
        settings.anchor_file.open("a").close()


def _look_at_anchor_file(settings: Settings) -> None:
    file = settings.anchor_file
    if file is None:
        return
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise _refused("anchor_file", file, "this user cannot add to it")


def _shared_dir(settings: Settings) -> None:
    """A folder that somebody chose; by default there are others."""
    if settings.shared_dir:
        SharedMemory(settings.shared_dir / f"vx11-trial-{os.getpid()}").close()


def _look_at_shared_dir(settings: Settings) -> None:
    folder = settings.shared_dir
    if folder and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise _refused("shared_dir", folder, "is no folder that can be written to")


def _refused(setting: str, path: Path, words: str) -> SettingsError:
    return SettingsError([told_at(setting, f"{shown_path(path)}: {words}")])


def _transport(settings: Settings) -> None:
    parts.transport(settings).close()


FILES: Mapping[str, Check] = {
    "upstreams": parts.require_kinds,
    "tokens_file": keys.last_good_tokens,
    "tls_ca": _transport,
    "audit_url": parts.audit,
}
LOOKS: Mapping[str, Check] = {
    **FILES,
    "audit_url": _look_at_audit,
    "anchor_file": _look_at_anchor_file,
    "shared_dir": _look_at_shared_dir,
}
