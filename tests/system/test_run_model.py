"""`make run MODEL=1`: a toy of a real model in switch's place, which fails as usual."""

import re

import pytest
import requests

from tests.support.real_model import needs_the_model
from tests.support.stack import sandbox, wait_until
from tests.system.test_run import Run, living

HELLO = "Say hello."

pytestmark = needs_the_model


class Toy(Run):
    OPTIONS = ("--model",)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with Toy(tmp_path_factory.mktemp("toy"), workers=1) as run:
        wait_until(run.is_ready, 60)
        yield run


@pytest.fixture
def ask(run):
    console, token = re.search(
        r"(http\S+/operator/)#token=(\S+)", run.output()
    ).groups()

    def ask(path="/operator/api/chat", **fields):
        return requests.post(
            console.removesuffix("/operator/") + path,
            json=fields if "messages" in fields else {"message": HELLO} | fields,
            headers={"X-VX11-Token": token},
            timeout=60,
        )

    return ask


@pytest.fixture
def panel(run):
    """The page that breaks what stands behind the gateway."""
    console = re.search(r"http\S+/operator/", run.output())[0]
    page = requests.get(console, timeout=10).text
    return re.search(r'href="(\S+)" id="to-break"', page)[1]


def test_a_real_model_answers_and_is_labelled_as_the_toy_that_it_is(run, ask):
    messages = [{"role": "user", "content": HELLO}]
    answer = ask("/v1/chat/completions", messages=messages)

    assert answer.headers["X-Gateway-Provider"] == "switch"
    assert answer.json()["model"] == "SmolLM2-135M-toy"
    assert answer.json()["usage"]["completion_tokens"] > 0
    assert "a toy: do not believe a word" in run.output()


def test_its_words_are_seen_to_flow(ask):
    assert ask(stream=True).text.count("event: delta") > 3


def test_it_can_be_broken_on_the_page_and_the_stand_in_answers(ask, panel):
    switch = f"{panel}all/switch"
    requests.post(switch, json={"fault": "reset_mid_body"}, timeout=10)

    assert ask().json()["provider"] == "madre"

    requests.delete(switch, timeout=10)
    assert wait_until(lambda: ask().json()["provider"] == "switch")


def test_a_stream_of_it_can_be_cut(ask, panel):
    switch = f"{panel}all/switch"
    wish = {"fault": "stream_cut", "params": {"after": 3}}
    requests.post(switch, json=wish, timeout=10).raise_for_status()

    told = ask(stream=True).text

    requests.delete(switch, timeout=10)
    assert "event: delta" in told
    assert "event: done" not in told
    assert "reply_interrupted" in told


def test_when_the_model_dies_the_stand_in_answers(run, ask):
    [model] = [p for p in run.family() if "sandbox.model" in p.cmdline()]

    model.kill()
    wait_until(lambda: not living([model]))

    assert ask().json()["provider"] == "madre"


def test_it_is_refused_where_upstreams_are_set(tmp_path):
    with sandbox() as (switch, _), Toy(tmp_path, switch_url=switch.url) as run:
        assert run.process.wait(60) == 78

    assert "--model" in run.output()
    assert "Traceback" not in run.output()
