"""The source address of a caller, as far as it can be believed."""

from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from flask import Request

from app.web.request.context import environ_key

Network = IPv4Network | IPv6Network

FORWARDED = environ_key("X-Forwarded-For")
SOCKET = "unix"  # how a peer on a Unix socket is called; it has no address
LONGEST = 64  # characters of an address that is looked at
KEPT = 4096  # addresses whose meaning is remembered
SITE = 64  # bits; one site may use all the IPv6 addresses behind them


def source_of(request: Request, trusted: tuple[str, ...]) -> str:
    """Return the address that a request came from.

    It is the peer's, unless the peer is one of `trusted` and says for whom it
    speaks: our nginx replaces X-Forwarded-For, so nothing in it is the caller's
    word. Of several addresses the last one is what the peer itself has seen. An
    IPv6 address is told by its network, which is what one site can choose within.
    """
    peer = request.remote_addr or SOCKET
    if not _is_trusted(peer, trusted):
        return _site(peer)
    last = request.environ.get(FORWARDED, "").rpartition(",")[2].strip()
    return _site(last[:LONGEST]) or _site(peer)


@lru_cache(maxsize=16)
def _networks(trusted: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in trusted if text != SOCKET)


@lru_cache(maxsize=KEPT)
def _is_trusted(peer: str, trusted: tuple[str, ...]) -> bool:
    if peer == SOCKET:
        return SOCKET in trusted
    address = _address(peer)
    return any(address in network for network in _networks(trusted) if address)


@lru_cache(maxsize=KEPT)
def _site(text: str) -> str:
    """What an address is counted under; "" for what is none."""
    if text == SOCKET:
        return text
    address = _address(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), SITE), strict=False))
    return str(address or "")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address; an IPv4 one in IPv6 clothes is itself, no text is None."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
