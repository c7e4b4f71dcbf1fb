"""Both chat doors: nothing of a body is parsed before there is a slot for it."""

import json

import pytest

from app.gateway.chain.admission_queue import Load
from app.gateway.chat import Priority

IDLE = Load(busy=0, waiting=0, streams=0)
DOORS = {
    "/operator/api/chat": {"message": "Hello"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hello"}]},
}


@pytest.fixture(params=DOORS)
def path(request):
    return request.param


@pytest.fixture
def post(client, token, path):
    def post(body=None, **fields):
        data = json.dumps(DOORS[path] | fields) if body is None else body
        return client.post(
            path, data=data, content_type="application/json", headers=token
        )

    return post


@pytest.fixture
def full(gate):
    """A gate without a free slot."""
    return [gate.enter(Priority.HIGH) for _ in range(gate.limits.slots)]


def code_of(answer):
    return answer.json.get("code") or answer.json["error"]["code"]


@pytest.mark.usefixtures("full")
def test_without_a_slot_a_body_is_not_even_parsed(post, trail):
    answer = post(b"{no JSON")

    assert (answer.status_code, code_of(answer)) == (503, "overloaded")
    assert int(answer.headers["Retry-After"]) >= 1
    ((_, closing),) = trail.closed
    assert (closing.outcome, closing.code) == ("refused", "overloaded")


@pytest.mark.parametrize("body", [b"{no JSON", b"[]", b"{}", b"[" * 9000], ids=len)
def test_what_cannot_be_read_gives_its_slot_back(post, gate, trail, body):
    answer = post(body)

    assert answer.status_code in (400, 422)
    assert gate.load() == IDLE
    ((_, closing),) = trail.closed
    assert (closing.outcome, closing.code) == ("refused", "invalid_request")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_gives_its_slot_back(post, gate, trail, stream):
    answer = post(stream=stream)

    assert answer.status_code == 200
    assert answer.data
    assert gate.load() == IDLE
    assert [closing.outcome for _, closing in trail.closed] == ["completed"]


def test_a_failure_gives_the_slot_back(post, gate, switch, madre, trail):
    switch.fail(KeyError("a bug"))
    madre.fail(KeyError("another"))

    assert post().status_code == 503
    assert gate.load() == IDLE
    assert len(trail.closed) == 1


def test_a_stream_too_many_is_refused_once_it_is_known_for_one(post, gate, trail):
    gate.make_stream(gate.enter(Priority.HIGH))

    answer = post(stream=True)

    assert (answer.status_code, code_of(answer)) == (503, "overloaded")
    assert gate.load() == Load(busy=1, waiting=0, streams=1)
    ((_, closing),) = trail.closed
    assert (closing.outcome, closing.code) == ("refused", "overloaded")
    assert post(stream=False).status_code == 200


@pytest.mark.parametrize("odd", [[], {}, 7, None])
def test_a_part_of_an_odd_type_is_no_bug_of_ours(client, token, odd):
    content = [{"type": odd, "text": "Hello"}]
    body = {"messages": [{"role": "user", "content": content}]}

    answer = client.post("/v1/chat/completions", json=body, headers=token)

    assert answer.status_code == 200
