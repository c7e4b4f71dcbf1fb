"""The gateway as it must not be: answers leave without waiting for the commit.

It exists to show that the kill test can tell the difference.
"""

from app import create_app
from app.settings import load
from app.wiring import build_services


class AsynchronousTrail:
    """A trail whose `finish` only queues."""

    def __init__(self, trail):
        self._trail = trail

    def __getattr__(self, name):
        return getattr(self._trail, name)

    def begin(self, intent):
        pass  # else the intent's commit would do the waiting

    def finish(self, intent, closing, timeout, pulse):
        self._trail.note(intent, closing)
        return 0.0


def build():
    services = build_services(load())
    services.chat._inner._inner._trail = AsynchronousTrail(services.trail)
    return services


class Lazy:
    """Like PerProcess: built in the worker."""

    built = None

    def __call__(self):
        Lazy.built = Lazy.built or build()
        return Lazy.built


app = create_app()
app.extensions["gateway"] = Lazy()
