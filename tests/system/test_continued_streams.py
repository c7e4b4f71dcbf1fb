"""Streams that break and are gone on with, on the real stack and over real HTTP."""

import json

import pytest
import requests

from tests.support.events import live_events, text_of
from tests.support.speaker import CUT, Speaker
from tests.support.stack import TOKEN, Gateway, wait_until

ENTRY = """
[[upstreams]]
name = "{name}"
kind = "openai"
url = "{url}"
retries = 0
"""
PREFILL = 'abilities = ["prefill"]\n'
REFUSAL = json.dumps({"error": {"message": "Extra inputs are not permitted"}}).encode()
HEADERS = {"X-VX11-Token": TOKEN, "X-Gateway-Stream-Mode": "continue"}


@pytest.fixture(scope="module")
def speakers():
    with Speaker() as first, Speaker() as plain, Speaker() as strict, Speaker() as last:
        yield {"first": first, "plain": plain, "strict": strict, "last": last}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, speakers):
    folder = tmp_path_factory.mktemp("continued")
    config = folder / "gateway.toml"
    entries = [
        ENTRY.format(name=name, url=speaker.url)
        + (PREFILL if name in {"strict", "last"} else "")
        for name, speaker in speakers.items()
    ]
    config.write_text("".join(entries))
    # All of them are to be asked, however often the first one has broken.
    lasting = {"breaker_failures": 1000, "breaker_min_calls": 1000}
    with Gateway(folder, config=config, workers=1, **lasting) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _fresh(speakers, gateway):
    for speaker in speakers.values():
        speaker.heard.clear()
    speakers["first"].script = ("One ", "two ", CUT)
    speakers["strict"].refusal = REFUSAL
    speakers["last"].script = (" drei", " vier")
    wait_until(lambda: gateway.upstreams_are(**dict.fromkeys(speakers, "up")))


def post(gateway, path, body, **headers):
    return requests.post(
        f"{gateway.url}{path}",
        json={"stream": True} | body,
        headers=HEADERS | headers,
        stream=True,
        timeout=30,
    )


def natively(gateway, **headers):
    body = {"message": "Count"}
    with post(gateway, "/operator/api/chat", body, **headers) as answer:
        assert answer.status_code == 200, answer.text
        return list(live_events(answer))


def test_the_last_one_goes_on_and_the_seam_is_told(gateway, speakers):
    arrived = natively(gateway)

    names = [event.name for event in arrived]
    assert names == ["meta", "delta", "delta", "seam", "delta", "delta", "done"]
    assert arrived[3].data == {"provider": "last", "from_character": 8}
    assert text_of(arrived) == "One two drei vier"
    done = arrived[-1].data
    assert (done["provider"], done["status"]) == ("last", "degraded")
    spoke = [(one["upstream"], one["from_character"]) for one in done["attempts"]]
    assert spoke == [("first", 0), ("strict", None), ("last", 8)]
    assert not speakers["plain"].heard
    [asked] = speakers["last"].heard
    assert asked["messages"][-1]["content"] == "One two"
    assert asked["continue_final_message"] is True


def test_the_record_says_who_said_what(gateway):
    natively(gateway, **{"X-Correlation-ID": "seam-2"})

    row = gateway.records("correlation_id = ? AND route = 'chat'", "seam-2")[-1]
    spoke = [
        (one["upstream"], one["fault"], one.get("from_character"))
        for one in json.loads(row["attempts"])
    ]
    assert spoke == [
        ("first", "truncated", 0),
        ("strict", "unsupported", None),
        ("last", None, 8),
    ]
    assert json.loads(row["reply"])["text"] == "One two drei vier"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Count"}]}),
        ("/v1/responses", {"input": "Count"}),
    ],
    ids=["chat", "responses"],
)
def test_openais_doors_tell_the_seam_in_a_comment(gateway, path, body):
    with post(gateway, path, body) as answer:
        said = answer.text

    before, seam, behind = said.partition(": x-gateway-seam last 8\n\n")
    assert seam
    assert "two " in before
    assert "drei" not in before
    assert "drei" in behind


def test_a_repeated_beginning_is_not_told_twice(gateway, speakers):
    speakers["last"].script = ("One", " two", " drei")

    assert text_of(natively(gateway)) == "One two drei"


def test_a_continuation_that_breaks_is_an_error(gateway, speakers):
    speakers["last"].script = (" drei", CUT)

    arrived = natively(gateway)

    assert arrived[-1].name == "error"
    assert text_of(arrived) == "One two drei"


def test_the_live_mode_does_not_go_on(gateway, speakers):
    arrived = natively(gateway, **{"X-Gateway-Stream-Mode": "live"})

    assert arrived[-1].name == "error"
    assert not any(event.name == "seam" for event in arrived)
    assert all("continue_final_message" not in b for b in speakers["last"].heard)
