"""Nobody is refused while an upstream is left untried.

Real gateways with default settings, in front of upstreams whose failures were drawn
beforehand. With VX11_AVAILABILITY set, also at the pace and the length of real life.
"""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from tests.support.stack import Gateway, free_port, wait_until
from tests.system.scripted import (
    always,
    ask,
    ask_all,
    ask_steadily,
    draw,
    never,
    scripted,
)

# Of a hundred chats, how many switch and madre can not answer.
SCENARIOS = [
    (100, 0),
    (100, 10),
    (100, 20),
    (100, 50),
    (50, 0),
    (50, 20),
    (50, 50),
    (20, 20),
    (20, 100),
    (50, 100),
]
# Where more was refused than could not be answered, before those passed over were
# asked after all. A gateway of its own for each is seconds; all ten share another.
HARDEST = [(100, 50), (50, 20), (50, 50), (50, 100)]

# What takes as long as it does in real life: some half an hour in all.
REAL = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif("VX11_AVAILABILITY" not in os.environ, reason="takes long"),
]

NOISE = 1.0  # seconds; the machine may be busy elsewhere
DEADLINE = {"X-Gateway-Deadline-Ms": "5000"}  # for those who wait for one that hangs
WAIT = 1.0  # seconds that a chat waits to see what becomes of calls under way
AT_ONCE = 2  # calls that a dead upstream gets from a host


@pytest.fixture
def upstreams():
    with scripted() as (switch, madre):
        yield switch, madre


@pytest.fixture
def start(tmp_path, upstreams):
    """Starts gateways in front of the two; they stop when the test is over."""
    started = []

    def start(**settings):
        switch, madre = upstreams
        folder = tmp_path / f"gateway-{len(started)}"
        folder.mkdir()
        urls = {"switch_url": switch.url, "madre_url": madre.url}
        started.append(Gateway(folder, **(urls | settings)))
        return started[-1].start()

    yield start
    for upstream in upstreams:
        upstream.stop()  # first, or gateways wait for what hangs
    for gateway in started:
        gateway.stop()


def play(upstreams, scenario):
    """Draw who can answer; return what tells whether a chat could be answered."""
    for upstream, failing in zip(upstreams, scenario, strict=True):
        upstream.can = draw(failing / 100, seed=f"{upstream.kind} {scenario}")
    switch, madre = upstreams
    return lambda number: switch.can(number) or madre.can(number)


def refused(asked, could=always):
    """The numbers of the chats that could have been answered and were not."""
    return [one.number for one in asked if could(one.number) and not one.is_answered]


def named(scenario):
    return "switch {} %, madre {} %".format(*scenario)


def quickly(gateway):
    return ask_all(gateway, range(40))


def steadily(gateway):
    return ask_steadily(gateway, range(300), rate=5.0)


PACES = [quickly, pytest.param(steadily, marks=REAL)]


@pytest.mark.parametrize(
    ("scenario", "pace"),
    [
        *[pytest.param(one, quickly, id=named(one)) for one in HARDEST],
        *[
            pytest.param(one, steadily, marks=REAL, id=f"{named(one)}, steadily")
            for one in SCENARIOS
        ],
    ],
)
def test_a_fresh_gateway_answers_all_that_could_be_answered(
    start, upstreams, scenario, pace
):
    could = play(upstreams, scenario)

    asked = pace(start())

    assert refused(asked, could) == []
    assert {one.status for one in asked if not could(one.number)} <= {503}


@pytest.mark.parametrize("pace", PACES)
def test_a_gateway_answers_all_that_could_be_answered_whatever_was_before(
    start, upstreams, pace
):
    gateway, missed = start(), {}

    for scenario in SCENARIOS:
        could = play(upstreams, scenario)
        missed[named(scenario)] = refused(pace(gateway), could)

    assert {name: chats for name, chats in missed.items() if chats} == {}


@pytest.mark.parametrize(
    "seconds", [8.0, *(pytest.param(40.0, marks=REAL, id=f"{n}") for n in range(10))]
)
def test_the_first_chat_after_an_outage_is_answered(start, upstreams, seconds):
    """The health of madre is fine throughout, so nothing tells of her recovery."""
    _, madre = upstreams
    gateway = start(switch_url=f"http://127.0.0.1:{free_port()}")
    back = monotonic() + seconds
    madre.can = lambda number: monotonic() >= back

    def is_over(one):
        return one.is_answered or one.began > back + 2.0

    asked = ask_steadily(gateway, itertools.count(), rate=4.0, until=is_over)

    assert refused([one for one in asked if one.began > back]) == []
    assert min(one.ended for one in asked if one.is_answered) < back + 1.0


@pytest.fixture
def all_open(start, upstreams):
    """A gateway of two workers both of whose circuits are open."""
    gateway = start(workers=2)
    for upstream in upstreams:
        upstream.can = never
    ask_until_open(gateway, "switch", "madre")
    return gateway


def ask_until_open(gateway, *names):
    """Only chats open circuits, so the test asks until they are."""
    numbers = itertools.count(1_000_000)

    def are_open():
        ask_all(gateway, itertools.islice(numbers, 5), at_once=1)
        known = gateway.services()
        return all(known[name]["breaker"] == "open" for name in names)

    wait_until(are_open)


def at_once(gateway, count, **options):
    """Ask for so many at the same moment."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda n: ask(gateway, n, **options), range(count)))


def test_an_outage_is_no_flood(all_open, upstreams):
    for upstream in upstreams:
        upstream.takes = 0.5
        upstream.forget()

    asked = at_once(all_open, 20)

    assert {one.status for one in asked} == {503}
    for upstream in upstreams:
        assert 1 <= upstream.most <= AT_ONCE


def test_one_that_hangs_costs_only_those_who_wait_for_it(all_open, upstreams):
    switch, _ = upstreams
    switch.takes = None
    switch.forget()

    asked = at_once(all_open, 20, headers=DEADLINE)

    waited = [one for one in asked if one.took > WAIT + NOISE]
    assert len(waited) <= AT_ONCE
    assert switch.most <= AT_ONCE
    assert max(one.took for one in asked) < 5.0 + 0.25 + NOISE


def test_one_that_hangs_costs_nobody_who_is_answered_by_another(all_open, upstreams):
    switch, madre = upstreams
    switch.takes = None
    madre.can = always
    ask(all_open, 0, headers=DEADLINE)  # which finds out that madre is back
    switch.forget()

    asked = ask_all(all_open, range(20), at_once=4, headers=DEADLINE)

    assert refused(asked) == []
    # Now and then a chat is the probe of the open circuit, and waits for it.
    assert len([one for one in asked if one.took > NOISE]) <= switch.calls
    assert switch.most <= AT_ONCE


SCALES = [
    pytest.param(0.25, id="a quarter"),
    pytest.param(1.0, id="as measured", marks=REAL),
]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("verdicts", [False, True], ids=["at once", "known to be down"])
def test_a_slow_madre_answers_all_while_switch_is_frozen(
    start, upstreams, scale, verdicts
):
    """Her health asks switch, so it is slow then, too: slower than a probe may be."""
    switch, madre = upstreams
    switch.takes = switch.health_takes = None
    madre.takes, madre.health_takes = 7.2 * scale, 2.3 * scale
    scaled = {"patience": 3.0, "probe_timeout": 2.0, "madre_timeout": 8.0}
    gateway = start(**{name: value * scale for name, value in scaled.items()})
    if verdicts:
        wait_until(lambda: gateway.upstreams_are(switch="down", madre="down"))

    asked = ask_all(gateway, range(4), at_once=2)

    assert refused(asked) == []
    assert {one.provider for one in asked} == {"madre"}
