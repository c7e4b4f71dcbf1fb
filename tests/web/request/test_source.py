"""Whose address a request is counted under (docs/faults.md, row 57)."""

import pytest
from flask import Flask, request

from app.web.request.source import source_of

DEFAULT = ("127.0.0.1", "::1", "unix")


def source(peer, forwarded=None, trusted=DEFAULT):
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    environ = {"REMOTE_ADDR": peer}
    with Flask("test").test_request_context(headers=headers, environ_base=environ):
        return source_of(request, trusted)


def test_it_is_the_peers():
    assert source("192.0.2.1") == "192.0.2.1"


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "", "::ffff:127.0.0.1"])
def test_the_front_door_says_for_whom_it_speaks(peer):
    assert source(peer, "192.0.2.9") == "192.0.2.9"


@pytest.mark.parametrize("peer", ["192.0.2.1", "127.0.0.2", "::2"])
def test_nobody_else_is_believed(peer):
    assert source(peer, "10.0.0.1") == source(peer)


def test_a_socket_need_not_be_trusted():
    assert source("", "10.0.0.1", trusted=("127.0.0.1",)) == "unix"


def test_of_several_the_last_is_what_the_proxy_has_seen():
    assert source("127.0.0.1", "1.1.1.1, 2.2.2.2 , 3.3.3.3") == "3.3.3.3"


@pytest.mark.parametrize("forged", ["", "x", "1.2.3.4:80", "a\tb", "unknown", "9" * 99])
def test_what_is_no_address_is_ignored(forged):
    assert source("127.0.0.1", forged) == "127.0.0.1"


def test_a_whole_network_may_be_trusted():
    assert source("10.1.2.3", "192.0.2.9", trusted=("10.0.0.0/8",)) == "192.0.2.9"


def test_an_ipv6_address_is_told_by_its_network():
    """One site has 2**64 of them."""
    assert source("2001:db8::1") == source("2001:db8::ffff:1") == "2001:db8::/64"
    assert source("2001:db8:0:1::1") != source("2001:db8::1")
