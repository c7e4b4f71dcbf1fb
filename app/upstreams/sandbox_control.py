"""The sandbox's control API, spoken over HTTP: the fault panel's other end."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.gateway.budget import Budget
from app.gateway.errors import BadReply
from app.gateway.fault_panel import Wish, WishRefused
from app.upstreams.http.transport import Transport

LIMIT = 5.0  # seconds; a broken stand-in must not hold up who wants to heal it
FAULT = "/sandbox/fault"
CATALOGUE = "/sandbox/faults"


class SandboxControl:
    """A FaultPanel for stand-ins in other processes. Threads may share it.

    `urls` are their control URLs by name, which answer while the services are broken.
    """

    def __init__(self, urls: Mapping[str, str], transport: Transport) -> None:
        self._urls = {name: url.rstrip("/") for name, url in urls.items()}
        self._transport = transport

    @property
    def names(self) -> tuple[str, ...]:
        """See FaultPanel."""
        return tuple(self._urls)

    def catalogue(self) -> Sequence[Mapping[str, Any]]:
        """See FaultPanel; all stand-ins break in the same ways."""
        faults: Sequence[Mapping[str, Any]] = self._ask(
            "GET", self.names[0], CATALOGUE
        )["faults"]
        return faults

    def fault(self, name: str) -> Mapping[str, Any]:
        """See FaultPanel."""
        return self._ask("GET", name, FAULT)

    def break_with(self, name: str, wish: Wish) -> Mapping[str, Any]:
        """See FaultPanel."""
        asked = {"fault": wish.fault, "times": wish.times, "params": dict(wish.params)}
        return self._ask("POST", name, FAULT, json.dumps(asked).encode())

    def heal(self, name: str) -> Mapping[str, Any]:
        """See FaultPanel."""
        return self._ask("DELETE", name, FAULT)

    def _ask(
        self, method: str, name: str, path: str, body: bytes | None = None
    ) -> Mapping[str, Any]:
        url, budget = self._urls[name] + path, Budget(LIMIT)
        with self._transport.open(method, url, body, {}, budget) as exchange:
            if exchange.status == 422:
                raise WishRefused(_object(b"".join(exchange.pieces()))["detail"])
            exchange.require("application/json")
            return _object(exchange.read())


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        raise BadReply("bad_json") from None
    if not isinstance(value, dict):
        raise BadReply("schema")
    return value
