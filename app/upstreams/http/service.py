"""Service: the base URL of an upstream, asked in JSON."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from app.gateway import tracing
from app.gateway.budget import Budget
from app.gateway.chat import ChatRequest
from app.gateway.errors import Refused
from app.gateway.strict_json import plain_encoder
from app.upstreams.http.transport import Answer, Exchange, Transport

TOKEN_HEADER = "X-VX11-Token"  # noqa: S105  # a name, not a token
NO_HEADERS: Mapping[str, str] = {}


class Service:
    """One upstream service. Threads may share it.

    `url` is its base URL. `token` is ours, shown with each chat in the header of
    that name, or as a Bearer token; empty for a service that wants none. `headers`
    are further ones of each chat and of `ping`. `health` is what `ping` asks for: a
    path on the server, or empty for what each kind has.
    """

    def __init__(
        self,
        url: str,
        transport: Transport,
        token: str = "",
        bearer: str = "",
        health: str = "",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        self._url = url.rstrip("/")
        self._transport = transport
        shown = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        self._bearer = {**shown, **headers}
        self._credentials = {**({TOKEN_HEADER: token} if token else {}), **self._bearer}
        server = urlsplit(url)
        self._health = health and f"{server.scheme}://{server.netloc}{health}"

    def ask(
        self,
        path: str,
        payload: Mapping[str, Any],
        request: ChatRequest,
        budget: Budget,
    ) -> Answer:
        """Post a chat's payload and return the 200 that answers it."""
        headers = self._headers(request, budget)
        return self._transport.post(self._url + path, _encode(payload), headers, budget)

    def open(
        self,
        path: str,
        payload: Mapping[str, Any],
        request: ChatRequest,
        budget: Budget,
        *,
        accept: str,
        max_body: int | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Exchange:
        """Post a chat's payload; return once the head of whatever answers is in."""
        headers = {**self._headers(request, budget), "Accept": accept, **headers}
        url, body = self._url + path, _encode(payload)
        return self._transport.open("POST", url, body, headers, budget, max_body)

    def command(self, path: str, budget: Budget) -> Answer:
        """Post an empty object outside any chat; return the 200 that answers it."""
        return self._transport.post(self._url + path, b"{}", self._credentials, budget)

    def ping(self, budget: Budget, path: str = "/health") -> None:
        """GET the health's path, else this one; any answer below 500 is a sign of life.

        A Bearer token is shown, since servers that want one may hide all of their
        paths; the other token is not. Raises an UpstreamError if there is no sign of
        life.
        """
        url = self._health or self._url + path
        with self._transport.open("GET", url, None, self._bearer, budget) as exchange:
            if exchange.status >= 500:
                raise Refused("http_5xx", status=exchange.status)

    def _headers(self, request: ChatRequest, budget: Budget) -> dict[str, str]:
        remaining = int(budget.remaining() * 1000)
        return {
            **self._credentials,
            "X-Correlation-ID": request.correlation_id,
            "X-Gateway-Deadline-Remaining-Ms": str(remaining),
            **tracing.outgoing(),
        }


# An upstream is sent JSON or nothing: a number that is none is a bug of ours.
_to_json = plain_encoder(separators=(",", ":"), allow_nan=False)


def _encode(payload: Mapping[str, Any]) -> bytes:
    return _to_json(payload).encode()
