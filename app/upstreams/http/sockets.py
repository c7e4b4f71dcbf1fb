"""Sockets that arm themselves before every operation.

`timeout=` of the libraries bounds one operation, so a peer that sends a byte now
and then holds a caller for as long as it likes (measured: 8 s at timeout 1). Here
every operation waits for at most a slice and asks its watch in between. No thread
watches from outside.
"""

import errno
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any, NamedTuple

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.wait import wait_for_write

from app.gateway.errors import ConnectFailed
from app.upstreams.http.deadline import ExchangeDeadline, Phase


class Address(NamedTuple):
    """Where to connect: an address family and what `connect` takes."""

    family: int
    sockaddr: Any


class DeadlineSocket(socket.socket):
    """A TCP socket that obeys `watch`, which its connection sets. One thread."""

    watch: ExchangeDeadline

    def _arm(self) -> None:
        limit = self.watch.wait_limit()
        if self.gettimeout() != limit:  # setting it costs a system call
            self.settimeout(limit)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive some bytes, or none at the end."""
        while True:
            self._arm()
            try:
                count = super().recv_into(buffer, nbytes or len(buffer), flags)
            except TimeoutError:
                continue
            self.watch.note_received(count)
            return count

    def send(self, data: Any, flags: int = 0) -> int:
        """Send at least one byte; return how many."""
        while True:
            self._arm()
            try:
                return super().send(data, flags)
            except TimeoutError:
                continue

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send every byte once. The library's own forgets how far it came."""
        view = memoryview(data).cast("B")
        while view:
            view = view[self.send(view, flags) :]

    def pending(self) -> int:
        """Bytes that were received and not yet read, as a TLS socket has them."""
        return 0


class DeadlineTLSSocket(DeadlineSocket, ssl.SSLSocket):
    """A TLS socket that obeys `watch`. One thread.

    OpenSSL keeps its place when an operation times out, and wants the very same
    call again: so each is repeated as it was, and no byte is lost or sent twice.
    """

    pending = ssl.SSLSocket.pending

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands, in slices."""
        while True:
            self._arm()
            try:
                return super().do_handshake(block)
            except TimeoutError:
                continue


class DeadlineContext(ssl.SSLContext):
    """Wraps a DeadlineSocket so that the handshake obeys the same watch."""

    sslsocket_class = DeadlineTLSSocket

    def wrap_socket(self, sock: Any, *args: Any, **kwargs: Any) -> Any:
        """Shake hands over a connected DeadlineSocket and return the TLS socket."""
        kwargs["do_handshake_on_connect"] = False  # the watch comes first
        tls: Any = super().wrap_socket(sock, *args, **kwargs)
        tls.watch = sock.watch
        tls.watch.phase = Phase.HANDSHAKE
        try:
            tls.do_handshake()
        except BaseException:
            tls.close()
            raise
        return tls


def connect(addresses: Sequence[Address], watch: ExchangeDeadline) -> DeadlineSocket:
    """Connect to the first address that accepts.

    All of them together get the watch's time, each an equal share of what is left,
    so that a dead one in front cannot use it up. Raises ConnectFailed when late,
    else the OSError of the last address.
    """
    watch.phase = Phase.CONNECT
    failure: Exception = ConnectFailed("dns")
    for index, address in enumerate(addresses):
        share = watch.budget.remaining() / (len(addresses) - index)
        with watch.narrowed(share):
            try:
                return _connect_to(address, watch)
            except (ConnectFailed, OSError) as error:
                if watch.ended_by is not None:
                    raise
                failure = error
    raise failure


def _connect_to(address: Address, watch: ExchangeDeadline) -> DeadlineSocket:
    sock = DeadlineSocket(address.family, socket.SOCK_STREAM)
    try:
        sock.watch = watch
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        code = sock.connect_ex(address.sockaddr)
        if code == errno.EINPROGRESS:
            while not wait_for_write(sock, watch.wait_limit()):
                pass
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def tls_context(verify: bool | str) -> ssl.SSLContext:
    """Make the context for all TLS connections; threads may share it.

    `verify` is a CA bundle's path, True for certifi's, or False to verify nothing.
    Raises OSError if the bundle cannot be read.
    """
    context = DeadlineContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context.hostname_checks_common_name = False  # a name stands where names belong
    bundle = DEFAULT_CA_BUNDLE_PATH if verify is True else verify
    is_directory = os.path.isdir(bundle)
    context.load_verify_locations(
        cafile=None if is_directory else bundle,
        capath=bundle if is_directory else None,
    )
    return context
