"""A chat gateway that always answers in time, says who did, and can prove it.

`create_app` is the front door of the house. `get_chat_router` and
`route_chat_request` are the way in for Python code in the same process.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.gateway.chat import ChatReply, ChatRequest
    from app.gateway.handler import ChatHandler
    from app.services import PerProcess, Services
    from app.settings import Settings

__all__ = ["create_app", "get_chat_router", "route_chat_request"]

# The imports are inside the functions, so that the sandbox, a command or a test
# of one room does not load all the others.


def create_app(
    settings: "Settings | None" = None, services: "Services | None" = None
) -> "Flask":
    """Make the WSGI app. Raises SettingsError if it must not start.

    Nothing is connected or started here: each process builds its own services
    at its first request, or when `app.extensions["gateway"]()` is called.
    """
    from app.services import PerProcess
    from app.settings import load
    from app.web import make_app
    from app.wiring import build_services

    chosen = settings or load()
    return make_app(PerProcess(lambda: services or build_services(chosen)))


def get_chat_router() -> "ChatHandler":
    """Return this process's chat handler, built from the environment once.

    Raises SettingsError if the environment cannot be used. Threads may share it.
    """
    return _default_services()().chat


def route_chat_request(
    request: "ChatRequest", seconds: float | None = None
) -> "ChatReply":
    """Answer one chat within `seconds` (default: the setting), on record.

    Raises a GatewayError if it can't be answered. Threads may call it.
    """
    from app.gateway.budget import Budget

    services = _default_services()()
    return services.chat.open(request, Budget(seconds or services.deadline)).collect()


def _default_services() -> "PerProcess[Services]":
    from app.wiring import default_services

    return default_services
