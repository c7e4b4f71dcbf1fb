"""Addresses: whether somebody could listen at HOST:PORT, [HOST]:PORT or unix:PATH."""

import errno
import socket


def problem_at(address: str) -> str:
    """Why nobody could listen there now, as the end of a sentence; "" if one could.

    A socket of a path that nobody listens at any more is no obstacle.
    """
    try:
        if address.startswith("unix:"):
            _require_unused(address.removeprefix("unix:"))
        else:
            _listen(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "is taken: stop what listens there"
        return f"cannot be listened at: {error.strerror}"
    return ""


def _listen(address: str) -> None:
    host, _, port = address.rpartition(":")
    family, kind, _, _, where = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_STREAM
    )[0]
    with socket.socket(family, kind) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(where)


def _require_unused(path: str) -> None:
    """Fail where somebody listens: gunicorn would take the path over."""
    with socket.socket(socket.AF_UNIX) as trial:
        if trial.connect_ex(path) == 0:
            raise OSError(errno.EADDRINUSE, "")
