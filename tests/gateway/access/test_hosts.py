"""Hosts that write the same records: how they are put together and compared."""

import pytest

from app.gateway.access.hosts import (
    HostFacts,
    LaneOwner,
    digest_of,
    sharing_hosts,
)

OWN = HostFacts("8.0.0", "/var/lib/a", "t1", {"deadline": "d1", "madre_url": "m1"})


def test_facts_come_over_as_they_are():
    assert HostFacts.of_json(OWN.to_json()) == OWN


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "null", '{"settings": [1]}', '{"settings": "x"}']
)
def test_of_what_has_another_shape_nothing_is_known(text):
    assert HostFacts.of_json(text) == HostFacts()


@pytest.mark.parametrize(
    ("other", "differences"),
    [
        ({}, ()),
        ({"place": "/elsewhere"}, ()),
        ({"version": "8.1.0"}, ("version",)),
        ({"tokens": "t2"}, ("tokens",)),
        ({"tokens": ""}, ()),
        ({"settings": {"deadline": "d2", "madre_url": "m1"}}, ("deadline",)),
        # A setting that only one version has says nothing of the hosts.
        ({"settings": {"deadline": "d1", "new": "n"}}, ()),
    ],
)
def test_in_what_another_is_not_alike(other, differences):
    assert OWN.differences(OWN._replace(**other)) == differences


def test_lanes_are_put_together_to_hosts():
    other = OWN._replace(place="/var/lib/b", version="8.1.0")
    lanes = [
        LaneOwner("one", OWN, 0.0),
        LaneOwner("two", other._replace(version="7.0.0"), 50.0),
        LaneOwner("two", other, 0.0),
        LaneOwner("one", OWN, 0.0),
        LaneOwner("three", other, 90.0),
    ]

    found = {host.name: host for host in sharing_hosts(lanes, OWN)}

    assert list(found) == ["one", "three", "two"]
    assert (found["one"].workers, found["one"].lanes) == (2, 2)
    assert found["one"].differences == ()
    assert (found["two"].workers, found["two"].lanes) == (1, 2)
    assert (found["two"].version, found["two"].differences) == ("8.1.0", ("version",))
    # What a host that is gone last told is no difference any more.
    assert (found["three"].silent, found["three"].differences) == (90.0, ())


def test_two_gateways_of_one_machine_are_two():
    lanes = [LaneOwner("one", OWN._replace(place=place), 0.0) for place in "ab"]

    assert [host.place for host in sharing_hosts(lanes, OWN)] == ["a", "b"]


def test_a_digest_is_of_key_name_and_value():
    digests = {
        digest_of(key, name, value)
        for key in (b"k", b"l")
        for name in ("a", "b")
        for value in ("v", "w", None, ["v"])
    }

    assert len(digests) == 16
    assert digest_of(b"k", "a", {"x": 1, "y": 2}) == digest_of(
        b"k", "a", {"y": 2, "x": 1}
    )
