"""What must never leave, and what must never come in by a side door."""

import os
import resource
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from app.gateway.budget import Budget
from app.gateway.errors import BadReply, ConnectFailed, NeverSent
from app.gateway.guard.blame import Blame, blame
from app.upstreams.http.sockets import tls_context
from app.upstreams.http.transport import Transport
from tests.upstreams.raw_server import OK, answering, serving

TOKEN = "canary-token-0123456789"


def ask(transport, url, headers=None):
    return transport.post(url, b"{}", headers or {}, Budget(5.0))


def with_header(line):
    return OK.replace(b"\r\n", b"\r\n" + line + b"\r\n", 1)


def test_one_callers_cookie_is_not_sent_for_the_next(serve, transport):
    server = serve(answering(with_header(b"Set-Cookie: session=alice; Path=/"), OK))

    ask(transport, server.url)
    ask(transport, server.url)

    assert b"cookie" not in server.requests[1].lower()


def test_netrc_does_not_replace_our_credentials(
    serve, transport, monkeypatch, tmp_path
):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login bob password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(serving)

    ask(transport, server.url, {"Authorization": "Bearer good"})

    assert b"Authorization: Bearer good" in server.requests[0]
    assert b"Basic" not in server.requests[0]


def test_a_proxy_in_the_environment_sees_nothing(serve, monkeypatch):
    proxy, server = serve(serving), serve(serving)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    transport = Transport()

    ask(transport, server.url)
    transport.close()

    assert (proxy.connections, server.connections) == (0, 1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_carries_nothing(status, serve, transport):
    elsewhere = serve(serving)
    location = b"Location: " + elsewhere.url.encode()
    answer = b"HTTP/1.1 %d X\r\n%s\r\nContent-Length: 0\r\n\r\n" % (status, location)
    server = serve(answering(answer))

    with pytest.raises(BadReply) as caught:
        ask(transport, server.url, {"X-VX11-Token": TOKEN})

    assert caught.value.fault == "redirect"
    assert elsewhere.connections == 0


def test_no_coding_is_offered(serve, transport):
    server = serve(serving)

    ask(transport, server.url)

    head = server.requests[0].lower()
    assert head.count(b"accept-encoding:") == 1
    assert b"accept-encoding: identity" in head


@pytest.mark.parametrize("value", [f"{TOKEN}\r\nX-Evil: 1", f"{TOKEN}\0", f"{TOKEN}é"])
def test_a_header_that_would_break_out_is_not_sent_nor_repeated(
    value, serve, transport
):
    server = serve(serving)

    with pytest.raises(ValueError, match="X-VX11-Token") as caught:
        ask(transport, server.url, {"X-VX11-Token": value})

    assert TOKEN not in repr(caught.value)
    assert server.requests == []


def test_a_certificate_of_our_authority_is_accepted(serve, tls, transport):
    server = serve(serving, tls=tls)

    assert ask(transport, server.url).status == 200


def test_a_certificate_of_another_authority_is_refused(serve, tls):
    server = serve(serving, tls=tls)
    transport = Transport()  # trusts certifi's authorities only

    with pytest.raises(ConnectFailed) as caught:
        ask(transport, server.url)

    assert caught.value.fault == "tls_verify"
    assert server.requests == []


def test_a_certificate_for_another_host_is_refused(serve, tls, ca_file):
    server = serve(serving, tls=tls)
    transport = Transport(verify=ca_file)

    with pytest.raises(ConnectFailed) as caught:
        ask(transport, server.url.replace("127.0.0.1", "localhost"))

    assert caught.value.fault == "tls_verify"
    assert server.requests == []


def test_verification_ends_only_where_it_is_switched_off(serve, tls):
    server = serve(serving, tls=tls)
    transport = Transport(verify=False)

    assert ask(transport, server.url).status == 200
    transport.close()


def test_a_missing_authority_file_is_noticed_at_the_start(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        Transport(verify=str(tmp_path / "none.pem"))


def test_a_server_without_tls_is_not_taken_for_one_with(serve, transport):
    server = serve(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))

    with pytest.raises(ConnectFailed) as caught:
        ask(transport, server.url.replace("http:", "https:"))

    assert caught.value.fault == "protocol"


def test_a_server_that_hangs_up_in_the_handshake_never_saw_the_request(
    serve, transport
):
    server = serve(lambda peer: peer.sock.recv(65536))

    with pytest.raises(ConnectFailed) as caught:
        ask(transport, server.url.replace("http:", "https:"))

    assert caught.value.fault == "reset"


def test_errors_say_nothing_about_where_or_what(serve, transport):
    server = serve(answering(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"))
    refused = serve(serving)
    refused.stop()

    for url in (server.url, refused.url):
        with pytest.raises(Exception, match=r"^(http_5xx|connect_refused)$") as caught:
            ask(transport, url, {"X-VX11-Token": TOKEN})
        assert TOKEN not in repr(caught.value)


@contextmanager
def no_descriptors_left():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir())
    holes = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        with suppress(OSError):
            while True:
                holes.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for hole in holes:
            os.close(hole)


def test_running_out_of_descriptors_is_not_held_against_the_upstream(serve, transport):
    server = serve(serving)

    with no_descriptors_left(), pytest.raises(NeverSent) as caught:
        ask(transport, server.url)

    assert blame(caught.value) is Blame.NOBODY
    assert ask(transport, server.url).status == 200


def test_a_certificate_is_for_its_names_and_not_for_what_it_is_called():
    assert tls_context(verify=True).hostname_checks_common_name is False
