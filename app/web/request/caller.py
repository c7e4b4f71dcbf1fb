"""What the request tells about its caller: their class, their wait, if they left."""

import logging
import re
import select
import socket
from functools import cache
from time import time

from flask import Request

from app.gateway.access.tokens import Caller
from app.gateway.budget import Budget
from app.gateway.chain.drain import Drain
from app.gateway.chat import Priority
from app.gateway.errors import CallerGone
from app.web.request.context import environ_key
from app.web.request.errors import InvalidBody

log = logging.getLogger(__name__)

DEADLINE = "X-Gateway-Deadline-Ms"
PRIORITY = "X-Gateway-Priority"
_DEADLINE, _PRIORITY = environ_key(DEADLINE), environ_key(PRIORITY)
_STARTED = environ_key("X-Request-Start")
MILLISECONDS = re.compile("[1-9][0-9]{2,6}")  # in fewer there can be no answer
WAITED = "gateway.waited"  # in the WSGI environment, so that it is looked at once

# Nobody waits this long before us, since what is too much is refused at once. What
# says so comes from a clock that differs from ours, or counts in another unit.
IMPLAUSIBLE = 10.0
# Of a request's time, the part that may be gone before us: a clock that is a little
# behind must not take the time from each and every request.
MOST_SPENT = 0.5
_UNIX_SECONDS = re.compile(r"(?:t=)?(\d{1,12}(?:\.\d{1,9})?)")


def budget_of(request: Request, deadline: float, drain: Drain | None = None) -> Budget:
    """Return the budget of a request; `deadline` is the setting, in seconds.

    A caller may ask for less by a header. Time that the request has waited
    between the front door and us has already been used up.
    """
    allowed = min(deadline, _asked_for(request) or deadline)
    spent = waited(request)
    seconds = allowed - min(spent, allowed * MOST_SPENT)
    checks = [drain.check] if drain else []
    if (leaver := request.environ.get("gunicorn.socket")) is not None:

        def check() -> None:
            if has_left(leaver):
                raise CallerGone

        checks.append(check)
    return Budget(seconds, *checks, waited=spent)


def stream_seconds(request: Request, limit: float) -> float:
    """Seconds that a live stream may last; `limit` is the setting.

    A caller may ask for less, by the same header.
    """
    return min(limit, _asked_for(request) or limit)


def priority_of(request: Request, caller: Caller) -> Priority:
    """The class of a request: that of its token, or a lower one that it asks for."""
    shown = request.environ.get(_PRIORITY)
    if shown is None:
        return caller.priority
    try:
        return max(caller.priority, Priority[shown.strip().upper()])
    except KeyError:
        raise InvalidBody({PRIORITY: "must be high, normal or low"}) from None


def _asked_for(request: Request) -> float | None:
    text = request.environ.get(_DEADLINE)
    if text is None:
        return None
    if not MILLISECONDS.fullmatch(text):
        wanted = "must be a whole number of milliseconds, 100 to 9999999"
        raise InvalidBody({DEADLINE: wanted})
    return int(text) / 1000


def waited(request: Request) -> float:
    """Seconds from the front door to our first look; 0 without a front door.

    nginx sets `X-Request-Start: t=<unix seconds>`. A clock step, or a caller who
    invents the header, gives at worst half the time to that very request. The log
    says once per process that a clock differs.
    """
    environ = request.environ
    if WAITED not in environ:
        shown = environ.get(_STARTED)
        environ[WAITED] = _seconds_since(shown) if shown else 0.0
    return float(environ[WAITED])


def _seconds_since(shown: str) -> float:
    found = _UNIX_SECONDS.fullmatch(shown)
    spent = time() - float(found[1]) if found else 0.0
    if abs(spent) < IMPLAUSIBLE:
        return max(spent, 0.0)
    _say_that_clocks_differ()
    return 0.0


@cache
def _say_that_clocks_differ() -> None:
    log.warning("X-Request-Start is not believed: the front door's clock differs")


def may_send(connection: socket.socket) -> bool:
    """Whether a few bytes could be sent without waiting, or would fail at once."""
    poll = select.poll()
    try:
        poll.register(connection, select.POLLOUT)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True


def has_left(connection: socket.socket) -> bool:
    """Whether the peer has closed; waits for nothing and consumes nothing.

    Bytes in waiting are a pipelined request, so the caller is still there, unless
    the connection is dead in both directions.
    """
    poll = select.poll()
    try:
        poll.register(connection, select.POLLIN | select.POLLRDHUP)
        if not (events := poll.poll(0)):
            return False
        if events[0][1] & (select.POLLERR | select.POLLHUP):
            return True
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except (OSError, ValueError):
        return True
