"""Faults: the one place where other people's exceptions become ours.

What is made here holds a fault class and nothing else of the exception it came
from: those texts carry host names and what an upstream sent.
"""

import errno
import ssl
from http.client import HTTPException, IncompleteRead

from app.gateway.errors import (
    BadReply,
    ConnectFailed,
    GatewayError,
    NeverSent,
    NoAnswer,
    UpstreamError,
)
from app.upstreams.http.deadline import ExchangeDeadline, Phase
from app.upstreams.http.heads import CutHead

# The gateway's own limits, not the upstream's fault: no file, port or memory left.
OUR_LIMITS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
CERT_HAS_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL
CLOSED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


def translate(error: BaseException, watch: ExchangeDeadline) -> BaseException:
    """Return what to raise for an error that ended an exchange.

    What a check of the budget raised, and errors that are ours already, come back
    as they are; so does what no rule knows, which is a defect and should look it.
    """
    if watch.ended_by is not None:
        return watch.ended_by
    if isinstance(error, GatewayError):
        return error
    if watch.phase in (Phase.RESOLVE, Phase.CONNECT):
        return _while_connecting(error)
    if watch.phase is Phase.HANDSHAKE:
        return _while_shaking_hands(error)
    return _while_talking(error, watch)


def _while_connecting(error: BaseException) -> BaseException:
    if not isinstance(error, OSError):
        return error
    if error.errno in OUR_LIMITS:
        return NeverSent("no_socket")
    return ConnectFailed("connect_refused")


def _while_shaking_hands(error: BaseException) -> BaseException:
    if isinstance(error, ssl.SSLCertVerificationError):
        is_over = error.verify_code == CERT_HAS_EXPIRED
        return ConnectFailed("tls_expired" if is_over else "tls_verify")
    if isinstance(error, CLOSED):
        return ConnectFailed("reset")
    return ConnectFailed("protocol") if isinstance(error, OSError) else error


def _while_talking(error: BaseException, watch: ExchangeDeadline) -> BaseException:
    if isinstance(error, CutHead):
        return BadReply("empty_body")
    if isinstance(error, IncompleteRead):
        return BadReply("truncated")
    if isinstance(error, CLOSED):
        return _closed(watch)
    if isinstance(error, HTTPException | ssl.SSLError):
        return BadReply("protocol")
    return _closed(watch) if isinstance(error, OSError) else error


def _closed(watch: ExchangeDeadline) -> UpstreamError:
    return BadReply("truncated") if watch.received else NoAnswer("reset")
