"""Doubts: what will not work well with settings that can be used."""

import ssl
from collections.abc import Iterator
from itertools import combinations
from time import time
from urllib.parse import urlsplit

from app.gateway.routing.failover import least_shares
from app.host.files import shown_path
from app.settings import Settings, UpstreamSettings, told_at
from app.wiring.behind_link import warnings_behind_link
from app.wiring.checks import warnings_of_places

# Kinds whose servers are asked below /v1, with the name of a model.
OF_MODELS = ("openai", "anthropic")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def doubts_about(settings: Settings) -> list[str]:
    """Return a line for each; files and folders are looked at, nothing is changed."""
    return [
        *_cut(settings),
        *_models(settings),
        *_loops(settings),
        *_routes(settings),
        *_authorities(settings),
        *warnings_of_places(settings),
        *warnings_behind_link(settings),
    ]


def _cut(settings: Settings) -> Iterator[str]:
    """Upstreams that may be ended before their own timeout."""
    upstreams = settings.effective_upstreams()
    shares = least_shares([one.timeout for one in upstreams], settings.chat_deadline)
    for number, (one, share) in enumerate(zip(upstreams, shares, strict=True)):
        if share < one.timeout:
            words = (
                f"{one.name} may get only {share:.3g} of its {one.timeout:g} s, for "
                f"all share VX11_CHAT_DEADLINE ({settings.chat_deadline:g} s)"
            )
            yield _of(settings, number, "timeout", words)


def _models(settings: Settings) -> Iterator[str]:
    for number, one in enumerate(settings.upstreams):
        if one.kind not in OF_MODELS:
            continue
        if not urlsplit(one.url).path.rstrip("/").endswith("/v1"):
            words = "does not end in /v1, where such servers answer"
            yield _of(settings, number, "url", words)
        if not one.model:
            words = (
                "has no `model`, so a chat whose caller names none is sent without "
                "one, which most such servers refuse"
            )
            yield _of(settings, number, "model", words)


def _loops(settings: Settings) -> Iterator[str]:
    """Upstreams that are this gateway: each chat would come back until its deadline."""
    port = settings.bind.rpartition(":")[2]
    for number, one in enumerate(settings.effective_upstreams()):
        url = urlsplit(one.url)
        if url.hostname in LOOPBACK and str(url.port) == port:
            yield _of(settings, number, "url", "is the address of this gateway itself")


def _routes(settings: Settings) -> Iterator[str]:
    for (first, one), (number, other) in combinations(enumerate(settings.routes), 2):
        if one.model == other.model:
            words = f"is never used, for number {first + 1} has the same model"
            yield told_at("routes", words, number)


def _authorities(settings: Settings) -> Iterator[str]:
    """Certificates of the bundle that have expired."""
    if settings.tls_ca is None:
        return
    found = ssl.create_default_context(cafile=str(settings.tls_ca)).get_ca_certs()
    ends = [ssl.cert_time_to_seconds(str(one["notAfter"])) for one in found]
    if over := sum(end < time() for end in ends):
        words = f"{over} of its {len(ends)} certificates have expired"
        yield told_at("tls_ca", f"{shown_path(settings.tls_ca)}: {words}")


def _of(settings: Settings, number: int, key: str, words: str) -> str:
    """A line about an upstream, which may be one of those that are there by default."""
    if settings.upstreams:
        return told_at("upstreams", words, number, key)
    one: UpstreamSettings = settings.effective_upstreams()[number]
    return told_at(f"{one.name}_{key}", words)
