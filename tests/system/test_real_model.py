"""A real model behind the gateway: it is killed, frozen, flooded and asked too much.

Its words differ from run to run, so tests say what holds whatever they are.
VX11_LONG_STREAM is the time in seconds that the longest stream lasts; 4 by default.
"""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.events import live_events
from tests.support.real_model import RealModel, needs_the_model
from tests.support.stack import TOKEN, Gateway, wait_until

pytestmark = needs_the_model

SECONDS = float(os.environ.get("VX11_LONG_STREAM", "4"))
CALL = 3  # seconds that a call may take; streams outlast it
SMALL = 256  # tokens of the small context
PATIENT = {"queue_wait": 30, "hang_check_after": 1}  # seconds
PICTURE = "data:image/png;base64,iVBORw0KGgo="

CONFIG = f"""
[[upstreams]]
name = "small"
kind = "openai"
url = "{{small}}"
concurrency = 2
idle_timeout = 2
retries = 0

[[upstreams]]
name = "large"
kind = "openai"
url = "{{large}}"
abilities = ["tools", "images", "multiple", "json", "prefill"]

[[upstreams]]
name = "brief"
kind = "openai"
url = "{{large}}"
timeout = {CALL}
first_token_timeout = {CALL}

[[routes]]
model = "*"
upstreams = ["small", "large"]

[[routes]]
model = "small-only"
upstreams = ["small"]

[[routes]]
model = "large-only"
upstreams = ["large"]

[[routes]]
model = "brief-only"
upstreams = ["brief"]
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    with RealModel(tmp_path_factory.mktemp("small"), "small", context=SMALL) as model:
        yield model


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    with RealModel(folder, "large", slots=1, context=8192) as model:
        yield model


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, small, large):
    folder = tmp_path_factory.mktemp("real")
    config = folder / "gateway.toml"
    config.write_text(CONFIG.format(small=small.url, large=large.url))
    with Gateway(folder, config=config, workers=1, **PATIENT) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _healed(gateway, small):
    wait_until(lambda: gateway.upstreams_are(small="up", large="up"))
    yield
    small.heal()


@pytest.fixture
def ask(gateway):
    """Ask by OpenAI's wire; give the answer as it comes."""

    def ask(content="Tell me a long story.", model="any", headers=(), **fields):
        body = {"model": model, "messages": [{"role": "user", "content": content}]}
        return requests.post(
            f"{gateway.url}/v1/chat/completions",
            json=body | {"max_tokens": 12} | fields,
            headers={"X-VX11-Token": TOKEN} | dict(headers),
            stream=True,
            timeout=60,
        )

    return ask


@pytest.fixture
def stream(ask):
    """Ask for a story without an end; `first` is done once words flow."""

    def stream(model="any", first=lambda: None, **headers):
        endless = {"stream": True, "max_tokens": 100, "ignore_eos": True}
        with ask(model=model, headers=headers, **endless) as answer:
            assert answer.status_code == 200, answer.text
            events = live_events(answer)
            begun = [next(events).data for _ in range(4)]
            first()
            return begun + [event.data for event in events]

    return stream


def words(events):
    deltas = [e["choices"][0]["delta"] for e in events if is_chunk(e)]
    return "".join(delta.get("content") or "" for delta in deltas)


def is_chunk(event):
    return isinstance(event, dict) and bool(event.get("choices"))


def record(gateway, answer):
    [row] = gateway.records("id = ?", answer.headers["X-Gateway-Audit-Id"])
    return row


class TestAnswers:
    def test_a_whole_one_has_its_counts(self, ask, gateway):
        answer = ask("Say hello.", max_tokens=5)

        body = answer.json()
        assert body["choices"][0]["message"]["content"]
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == 5
        row = record(gateway, answer)
        assert (row["outcome"], row["provider"]) == ("completed", "small")

    def test_a_streamed_one_is_the_same_at_temperature_0(self, ask):
        plain = {"temperature": 0, "seed": 1, "cache_prompt": False}
        whole = ask("Say hello.", **plain).json()["choices"][0]["message"]["content"]

        with ask("Say hello.", stream=True, **plain) as answer:
            events = [event.data for event in live_events(answer)]

        assert (words(events), events[-1]) == (whole, "[DONE]")

    def test_a_format_is_kept(self, ask):
        schema = {
            "type": "object",
            "properties": {"town": {"enum": ["Ulm", "Bonn"]}},
            "required": ["town"],
            "additionalProperties": False,
        }
        wish = {"type": "json_schema", "json_schema": {"name": "t", "schema": schema}}

        answer = ask("Name a town.", response_format=wish, max_tokens=40).json()

        text = answer["choices"][0]["message"]["content"]
        assert json.loads(text)["town"] in {"Ulm", "Bonn"}


class TestWhatCannotBeAnswered:
    """It follows from the request: the next one is asked, and nobody is blamed."""

    LONG = "word " * SMALL

    def test_who_has_room_answers_what_is_too_long(self, ask):
        answer = ask(self.LONG)

        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Gateway-Provider"] == "large"
        assert answer.headers["X-Gateway-Fallback-Reason"] == "context_length"

    def test_where_nobody_has_room_the_caller_is_told_how_clients_know_it(self, ask):
        answer = ask(self.LONG, model="small-only")

        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")
        assert "context_length_exceeded" in error["message"]

    def test_pictures_are_refused_over_and_over_and_words_go_on(self, ask, gateway):
        picture = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PICTURE}},
        ]
        refusals = [ask(picture, model="small-only") for _ in range(8)]

        assert {answer.status_code for answer in refusals} == {400}
        assert refusals[-1].json()["error"]["code"] == "unsupported"
        assert ask("Say hello.", model="small-only").status_code == 200
        assert gateway.services()["small"]["breaker"] == "closed"


class TestMoreChatsThanSlots:
    @pytest.mark.parametrize("model", ["small", "large"])
    def test_all_are_answered_by_who_is_asked(self, ask, model):
        """Whether the gateway keeps the queue (`concurrency`) or the server does."""

        def say(number):
            return ask(f"Say {number}.", model=f"{model}-only", max_tokens=8)

        with ThreadPoolExecutor(6) as callers:
            answers = list(callers.map(say, range(6)))

        assert [answer.status_code for answer in answers] == [200] * 6
        assert {a.headers["X-Gateway-Provider"] for a in answers} == {model}


class TestStreams:
    @pytest.mark.timeout(SECONDS + 120)
    def test_words_flow_beyond_the_time_of_a_call_until_the_caller_leaves(
        self, ask, gateway, large
    ):
        endless = {"stream": True, "max_tokens": 8000, "ignore_eos": True}
        with ask(model="brief-only", **endless) as answer:
            until = time.monotonic() + SECONDS
            for event in live_events(answer):
                assert is_chunk(event.data), event.data
                if time.monotonic() > until:
                    break
            assert large.busy_slots() == 1

        wait_until(lambda: large.busy_slots() == 0)
        row = wait_until(lambda: record(gateway, answer))
        assert row["outcome"] == "cancelled"
        assert row["duration"] > CALL


KILLED, FROZEN = "kill", "freeze"
breaks = pytest.mark.parametrize("how", [KILLED, FROZEN])


class TestBreaks:
    """The server dies or hangs while it speaks."""

    @breaks
    def test_alone_it_is_told_and_never_whole(self, stream, small, gateway, how):
        events = stream("small-only", getattr(small, how))

        assert "[DONE]" not in events
        assert events[-1]["error"]["code"] == "reply_interrupted"
        assert words(events)
        assert gateway.records()[-1]["outcome"] == "failed"

    @breaks
    def test_the_next_one_goes_on_where_it_may(self, stream, small, gateway, how):
        mode = {"X-Gateway-Stream-Mode": "continue"}

        events = stream("any", getattr(small, how), **mode)

        assert events[-1] == "[DONE]"
        row = gateway.records()[-1]
        assert (row["outcome"], row["provider"]) == ("completed", "large")
        spoke = {
            a["upstream"]: a["from_character"] for a in json.loads(row["attempts"])
        }
        assert spoke["small"] == 0
        assert 0 < spoke["large"] < len(words(events))
        assert json.loads(row["reply"])["text"] == words(events)

    def test_verified_it_is_whole(self, ask, small, gateway):
        mode = {"X-Gateway-Stream-Mode": "verified"}
        when_it_speaks = threading.Thread(
            target=lambda: (wait_until(small.busy_slots), small.kill())
        )
        when_it_speaks.start()

        options = {"stream": True, "max_tokens": 80, "ignore_eos": True}
        with ask(headers=mode, **options) as answer:
            events = [event.data for event in live_events(answer)]
        when_it_speaks.join()

        assert events[-1] == "[DONE]"
        assert answer.headers["X-Gateway-Provider"] == "large"
        assert words(events) == json.loads(gateway.records()[-1]["reply"])["text"]

    def test_one_that_froze_is_passed_over_and_comes_back(self, ask, small, gateway):
        small.freeze()

        assert ask("Say hello.").headers["X-Gateway-Provider"] == "large"

        small.heal()
        wait_until(lambda: gateway.upstreams_are(small="up"))
        wait_until(
            lambda: ask("Say hello.").headers["X-Gateway-Provider"] == "small", every=1
        )
