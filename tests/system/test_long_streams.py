"""Streams that last: longer than any call may take, for as long as their words flow.

Times are scaled down. VX11_LONG_STREAM=600 lets one run for ten minutes with the
default settings.
"""

import json
import os
import time

import pytest

from tests.support.speaker import CUT, Speaker
from tests.support.stack import Gateway
from tests.system.test_streams import events, outcome_of

SECONDS = float(os.environ.get("VX11_LONG_STREAM", "0"))
DEADLINE = 2.0
NOISE = 1.5  # seconds; the box is shared

CONFIG = """
[[upstreams]]
name = "speaker"
kind = "openai"
url = "{speaker}"
retries = 0
{limits}
[[upstreams]]
name = "twin"
kind = "openai"
url = "{twin}"
retries = 0
{limits}
"""
LIMITS = "timeout = 1\nidle_timeout = 1\n"


def spoken(words, pause):
    return [step for i in range(words) for step in (f"w{i} ", pause)]


def text_of(words):
    return "".join(f"w{i} " for i in range(words))


@pytest.fixture
def start(tmp_path):
    running = []

    def start(speaker, twin, limits=LIMITS, **settings):
        config = tmp_path / "gateway.toml"
        config.write_text(
            CONFIG.format(speaker=speaker.url, twin=twin.url, limits=limits)
        )
        gateway = Gateway(tmp_path, config=config, workers=1, **settings)
        running.append(gateway)
        return gateway.start()

    yield start
    for gateway in running:
        gateway.stop()


@pytest.fixture
def speaker():
    with Speaker() as speaker:
        yield speaker


@pytest.fixture
def twin():
    with Speaker() as twin:
        yield twin


def words_of(arrived):
    return "".join(e.data["text"] for e in arrived if e.name == "delta")


def test_a_stream_outlasts_the_time_of_a_call_and_the_deadline(start, speaker, twin):
    speaker.script = spoken(12, 0.4)
    gateway = start(speaker, twin, chat_deadline=DEADLINE)

    arrived = events(gateway.url, **{"X-Correlation-ID": "long"})

    assert (words_of(arrived), arrived[-1].name) == (text_of(12), "done")
    assert arrived[-1].data["degraded"] is False
    row = outcome_of(gateway, "long")
    assert row["outcome"] == "completed"
    assert row["duration"] > 2 * DEADLINE


def test_its_end_by_our_own_limit_is_told_as_that_and_blames_nobody(
    start, speaker, twin
):
    speaker.script = spoken(100, 0.2)
    gateway = start(
        speaker, twin, chat_deadline=1, stream_deadline=2, breaker_failures=1
    )
    began = time.monotonic()

    arrived = events(gateway.url, **{"X-Correlation-ID": "limit"})

    assert time.monotonic() - began < 2 + NOISE
    assert (arrived[-1].name, arrived[-1].data["code"]) == ("error", "stream_limit")
    row = outcome_of(gateway, "limit")
    assert (row["outcome"], row["code"]) == ("failed", "stream_limit")
    assert [a["upstream"] for a in json.loads(row["attempts"])] == ["speaker"]
    assert twin.heard == []
    speaker.script = ("fine",)
    assert events(gateway.url)[-1].data["provider"] == "speaker"


def test_a_caller_who_asks_for_less_gets_no_more(start, speaker, twin):
    speaker.script = spoken(100, 0.2)
    gateway = start(speaker, twin)
    began = time.monotonic()

    arrived = events(gateway.url, **{"X-Gateway-Deadline-Ms": "1500"})

    assert arrived[-1].name == "error"
    assert time.monotonic() - began < 1.5 + NOISE


def test_who_goes_on_with_a_broken_stream_has_time_for_it(start, speaker, twin):
    speaker.script = [*spoken(8, 0.4), CUT]
    twin.script = spoken(12, 0.1)
    gateway = start(speaker, twin, chat_deadline=DEADLINE)

    arrived = events(gateway.url)

    assert (words_of(arrived), arrived[-1].name) == (text_of(12), "done")
    assert arrived[-1].data["provider"] == "twin"


def test_what_is_to_be_verified_is_bound_by_the_deadline(start, speaker, twin):
    speaker.script = spoken(100, 0.2)
    twin.script = ("short",)
    gateway = start(speaker, twin, chat_deadline=3)

    arrived = events(gateway.url, **{"X-Gateway-Stream-Mode": "verified"})

    assert words_of(arrived) == "short"


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.skipif(not SECONDS, reason="takes VX11_LONG_STREAM seconds")
def test_a_word_a_second_passes_whole_with_default_settings(start, speaker, twin):
    words = int(SECONDS)
    speaker.script = spoken(words - 2, 1.0)
    gateway = start(speaker, twin, limits="")

    arrived = events(gateway.url)

    assert (words_of(arrived), arrived[-1].name) == (text_of(words - 2), "done")
    assert arrived[-1].data["provider"] == "speaker"
