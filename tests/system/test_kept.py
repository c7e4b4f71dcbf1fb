"""Answers that are said again, on the real stack: the cache and Idempotency-Key."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import threading
import time
import uuid

import openai
import pytest
import requests

from tests.support.speaker import Speaker
from tests.support.stack import TOKEN, Gateway, wait_until

CONFIG = """
cache_ttl = {ttl}

[[upstreams]]
name = "speaker"
kind = "openai"
url = "{url}"
timeout = 20
first_token_timeout = 20
retries = 0

[[routes]]
model = "fresh"
upstreams = ["speaker"]
cache = 0

[[routes]]
model = "*"
upstreams = ["speaker"]
"""
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
DOORS = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"input": "Hello"},
    "/v1/messages": CHAT | {"max_tokens": 100},
    "/operator/api/chat": {"message": "Hello"},
}
LEASE = 3.0  # seconds; after a kill nobody waits for longer
SLACK = 7.0  # of a machine that others are loading; the deadline is 36 s


@contextlib.contextmanager
def a_gateway(folder, speaker, *, ttl=60, **settings):
    config = folder / "gateway.toml"
    config.write_text(CONFIG.format(url=speaker.url, ttl=ttl))
    with Gateway(folder, config=config, **settings) as gateway:
        wait_until(lambda: gateway.upstreams_are(speaker="up"))
        yield gateway


@pytest.fixture(scope="module")
def speaker():
    with Speaker() as speaker:
        yield speaker


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, speaker):
    with a_gateway(tmp_path_factory.mktemp("kept"), speaker) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _fresh(speaker):
    speaker.script = ("Hello ", "world")
    speaker.heard.clear()
    speaker.was_left.clear()


def ask(gateway, path="/v1/chat/completions", key=None, *, headers=(), **fields):
    if key:
        headers = {**dict(headers), "Idempotency-Key": key}
    return requests.post(
        gateway.url + path,
        json=DOORS[path] | fields,
        headers={"Authorization": f"Bearer {TOKEN}"} | dict(headers),
        timeout=60,
    )


def a_question():
    """A question that no test has asked before."""
    return [{"role": "user", "content": str(uuid.uuid4())}]


def at_once(number, one):
    """Do it in so many threads; return what comes of each, once all are done."""
    answers, threads = [], []
    for place in range(number):
        threads.append(
            threading.Thread(target=lambda place=place: answers.append(one(place)))
        )
        threads[-1].start()

    def all_of_them():
        for thread in threads:
            thread.join(90)
        return answers

    return all_of_them


def hold(speaker):
    """Have the speaker say nothing until the event is set."""
    speaker.script = (threading.Event(), "Hello ", "world")
    return speaker.script[0]


class TestKeys:
    """One answer for each Idempotency-Key, however often it is shown."""

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("path", DOORS)
    def test_the_same_bytes_at_every_door(self, gateway, speaker, path, stream):
        key = str(uuid.uuid4())
        first = ask(
            gateway, path, key, stream=stream, headers={"Cache-Control": "no-store"}
        )
        assert first.status_code == 200, first.text
        again = ask(gateway, path, f'"{key}"', stream=stream)
        other = ask(gateway, path, key, stream=not stream)

        assert again.content == first.content
        assert other.status_code == 200
        assert len(speaker.heard) == 1
        assert "Idempotent-Replayed" not in first.headers
        for repeated in (again, other):
            assert repeated.headers["Idempotent-Replayed"] == "true"
            assert repeated.headers["X-Gateway-Attempts"] == "0"
        ids = {one.headers["X-Gateway-Audit-Id"] for one in (first, again, other)}
        assert len(ids) == 3
        rows = gateway.records("id = ?", again.headers["X-Gateway-Audit-Id"])
        assert rows[0]["source"] == first.headers["X-Gateway-Audit-Id"]
        assert (rows[0]["reuse"], rows[0]["attempts"]) == ("idempotency", "[]")
        assert rows[0]["input_tokens"] is None

    def test_twins_are_answered_by_one_call(self, gateway, speaker):
        key, question, go = str(uuid.uuid4()), a_question(), hold(speaker)

        wait = at_once(
            50, lambda n: ask(gateway, key=key, messages=question, stream=n % 2 == 1)
        )
        wait_until(lambda: speaker.heard)
        go.set()
        answers = wait()

        assert [one.status_code for one in answers] == [200] * 50
        assert len(speaker.heard) == 1
        whole = {one.content for one in answers if b"data:" not in one.content}
        streamed = {one.content for one in answers if b"data:" in one.content}
        assert (len(whole), len(streamed)) == (1, 1)
        records = {one.headers["X-Gateway-Audit-Id"] for one in answers}
        assert len(records) == 50

    @pytest.mark.parametrize("stream", [False, True])
    def test_the_work_outlives_its_caller(self, gateway, speaker, stream):
        key, question, go = str(uuid.uuid4()), a_question(), hold(speaker)
        if stream:
            speaker.script = ("Hello ", go, "world")
        body = json.dumps(CHAT | {"messages": question, "stream": stream}).encode()
        caller = socket.create_connection(("127.0.0.1", gateway.port), 30)
        caller.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Bearer %b\r\nIdempotency-Key: %b\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (TOKEN.encode(), key.encode(), len(body), body)
        )
        wait_until(lambda: speaker.heard)
        if stream:
            assert b"Hello" in caller.recv(4096) + caller.recv(4096)
        caller.close()
        threading.Timer(1.0, go.set).start()

        again = ask(gateway, key=key, messages=question)

        assert again.json()["choices"][0]["message"]["content"] == "Hello world"
        assert len(speaker.heard) == 1
        assert not speaker.was_left.is_set()
        first = gateway.records("id = ?", again.json()["id"].removeprefix("chatcmpl-"))
        assert (first[0]["outcome"], first[0]["code"]) == ("completed", "client_gone")

    def test_after_a_kill_the_next_one_asks_anew(self, gateway, speaker):
        key, question, go = str(uuid.uuid4()), a_question(), hold(speaker)

        def first(_):
            with contextlib.suppress(requests.ConnectionError):
                return ask(gateway, key=key, messages=question)

        gone = at_once(1, first)
        wait_until(lambda: speaker.heard)
        (row,) = wait_until(lambda: gateway.records("seq IS NULL"))
        os.kill(int(row["worker"].partition("-")[0]), signal.SIGKILL)
        go.set()
        gone()
        began = time.monotonic()

        again = ask(gateway, key=key, messages=question)

        assert time.monotonic() - began < LEASE + SLACK
        assert (again.status_code, len(speaker.heard)) == (200, 2)
        assert "Idempotent-Replayed" not in again.headers

    def test_what_was_not_committed_is_never_repeated(self, gateway, speaker):
        key, question, go = str(uuid.uuid4()), a_question(), hold(speaker)
        first = at_once(1, lambda _: ask(gateway, key=key, messages=question))
        wait_until(lambda: speaker.heard)
        with contextlib.closing(
            sqlite3.connect(gateway.audit, isolation_level=None, timeout=30)
        ) as database:
            database.execute("BEGIN IMMEDIATE")
            go.set()
            (refused,) = first()
            database.execute("ROLLBACK")
        assert refused.status_code == 503

        def again():
            answer = ask(gateway, key=key, messages=question)
            return answer if answer.status_code == 200 else None

        assert "Idempotent-Replayed" not in wait_until(again).headers
        assert len(speaker.heard) == 2

    def test_another_request_with_the_key(self, gateway, speaker):
        key = str(uuid.uuid4())
        # The database was locked a moment ago, for the other worker as well.
        wait_until(lambda: ask(gateway, key=key).status_code == 200)

        other = ask(gateway, key=key, messages=a_question())

        assert other.status_code == 422
        assert other.json()["error"]["code"] == "idempotency_key_reused"
        assert key not in other.text

    def test_one_that_is_not_over_by_the_deadline(self, gateway, speaker):
        key, question, go = str(uuid.uuid4()), a_question(), hold(speaker)
        first = at_once(1, lambda _: ask(gateway, key=key, messages=question))
        wait_until(lambda: speaker.heard)

        late = ask(
            gateway,
            key=key,
            messages=question,
            headers={"X-Gateway-Deadline-Ms": "500"},
        )
        go.set()

        assert late.status_code == 409
        assert late.json()["error"]["code"] == "idempotency_in_flight"
        assert late.headers["Retry-After"] == "1"
        assert first()[0].status_code == 200
        assert len(speaker.heard) == 1

    @pytest.mark.parametrize("key", ['""', '"', "a" * 256, "a b", '"a', "ü"])
    @pytest.mark.parametrize("path", DOORS)
    def test_a_malformed_key(self, gateway, speaker, path, key):
        refused = ask(gateway, path, headers={"Idempotency-Key": key.encode()})

        assert refused.status_code == 400
        assert "idempotency_key_malformed" in refused.text
        assert speaker.heard == []

    def test_the_official_client_tries_again_with_its_key(self, gateway, speaker):
        client = openai.OpenAI(
            base_url=f"{gateway.url}/v1", api_key=TOKEN, max_retries=2, timeout=30
        )
        key, question = str(uuid.uuid4()), a_question()

        def complete():
            return client.chat.completions.create(
                model="any", messages=question, extra_headers={"Idempotency-Key": key}
            )

        speaker.script = (0.0,)  # an answer without a word is none: 503
        with pytest.raises(openai.InternalServerError):
            complete()
        speaker.script = ("Hello ", "world")
        speaker.heard.clear()
        first, again = complete(), complete()
        client.close()

        assert first == again
        assert first.choices[0].message.content == "Hello world"
        assert len(speaker.heard) == 1


class TestCache:
    """The answer of before, for the caller who asked the same."""

    def test_a_hit_has_a_record_of_its_own_and_spends_nothing(self, gateway, speaker):
        question = a_question()
        first, second = (ask(gateway, messages=question) for _ in range(2))

        assert len(speaker.heard) == 1
        assert [one.headers["X-Gateway-Cache"] for one in (first, second)] == [
            "miss",
            "hit",
        ]
        assert first.headers["Cache-Status"] == "vx11; fwd=miss; stored"
        assert second.headers["Cache-Status"].startswith("vx11; hit; ttl=")
        assert int(second.headers["Age"]) <= 30
        assert second.headers["Cache-Control"] == "no-store"
        said = [one.json() for one in (first, second)]
        assert said[0]["choices"] == said[1]["choices"]
        assert said[0]["usage"] == said[1]["usage"]
        assert said[0]["id"] != said[1]["id"]
        (row,) = gateway.records("id = ?", second.headers["X-Gateway-Audit-Id"])
        assert (row["reuse"], row["attempts"], row["outcome"]) == (
            "cache",
            "[]",
            "completed",
        )
        assert row["source"] == first.headers["X-Gateway-Audit-Id"]
        assert row["input_tokens"] is None
        assert "Hello world" in row["reply"]

    @pytest.mark.parametrize("path", DOORS)
    def test_stream_and_whole_share_one_entry(self, gateway, speaker, path):
        fields = {"message": str(uuid.uuid4())}
        if "input" in DOORS[path]:
            fields = {"input": str(uuid.uuid4())}
        elif "messages" in DOORS[path]:
            fields = {"messages": a_question()}

        every = [
            ask(gateway, path, stream=stream, **fields)
            for stream in (True, False, True)
        ]

        assert len(speaker.heard) == 1
        results = [one.headers["X-Gateway-Cache"] for one in every]
        assert results == ["miss", "hit", "hit"]
        assert [one.status_code for one in every] == [200] * 3

    def test_the_official_client_sees_the_same_in_a_stream(self, gateway, speaker):
        client = openai.OpenAI(
            base_url=f"{gateway.url}/v1", api_key=TOKEN, max_retries=0, timeout=30
        )
        question = a_question()

        def said():
            chunks = list(
                client.chat.completions.create(
                    model="any",
                    messages=question,
                    stream=True,
                    stream_options={"include_usage": True},
                )
            )
            words = [c.choices[0].delta.content for c in chunks if c.choices]
            return [word for word in words if word], chunks[-1].usage

        first, second = said(), said()
        client.close()

        assert first == second
        assert first[0] == ["Hello ", "world"]
        assert first[1].total_tokens == 7
        assert len(speaker.heard) == 1

    @pytest.mark.parametrize(
        ("directive", "status", "result"),
        [
            ("no-store", 200, "bypass"),
            ("no-cache", 200, "miss"),
            ("max-age=0", 200, "hit"),
            ("max-age=oops", 200, "hit"),
            ("only-if-cached", 200, "hit"),
            ("max-stale=5, unknown", 200, "hit"),
        ],
    )
    def test_what_a_caller_says_of_it(self, gateway, directive, status, result):
        question = a_question()
        ask(gateway, messages=question)

        answer = ask(gateway, messages=question, headers={"Cache-Control": directive})

        found = answer.headers["X-Gateway-Cache"]
        # An answer of this very second may have been said in the one before.
        is_near = directive.startswith("max-age") and found == "miss"
        assert answer.status_code == status
        assert found == result or is_near

    def test_only_if_cached_where_nothing_is(self, gateway, speaker):
        answer = ask(
            gateway, messages=a_question(), headers={"Cache-Control": "only-if-cached"}
        )

        assert (answer.status_code, speaker.heard) == (504, [])
        assert answer.json()["error"]["code"] == "not_cached"

    def test_a_route_that_is_not_cached(self, gateway, speaker):
        question = a_question()
        every = [ask(gateway, messages=question, model="fresh") for _ in range(2)]

        assert [one.headers["X-Gateway-Cache"] for one in every] == ["bypass"] * 2
        assert len(speaker.heard) == 2

    def test_twins_are_answered_by_one_call(self, gateway, speaker):
        question, go = a_question(), hold(speaker)

        wait = at_once(64, lambda n: ask(gateway, messages=question, stream=n % 2 == 1))
        wait_until(lambda: speaker.heard)
        go.set()
        answers = wait()

        answered = [one for one in answers if one.status_code == 200]
        assert len(answered) == 64
        assert len(speaker.heard) == 1
        results = [one.headers["X-Gateway-Cache"] for one in answered]
        assert results.count("miss") == 1
        assert results.count("joined") > 0

    def test_a_leader_that_hangs_up_holds_up_nobody(self, gateway, speaker):
        question, go = a_question(), hold(speaker)
        body = json.dumps(CHAT | {"messages": question}).encode()
        leader = socket.create_connection(("127.0.0.1", gateway.port), 30)
        leader.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Bearer %b\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (TOKEN.encode(), len(body), body)
        )
        wait_until(lambda: speaker.heard)
        wait = at_once(4, lambda _: ask(gateway, messages=question))
        leader.close()
        wait_until(lambda: len(speaker.heard) >= 2)
        go.set()

        assert [one.status_code for one in wait()] == [200] * 4

    def test_it_is_counted(self, gateway, speaker):
        question = a_question()
        for _ in range(2):
            ask(gateway, messages=question, key=None)
        page = requests.get(
            f"{gateway.url}/metrics", headers={"X-VX11-Token": TOKEN}, timeout=30
        ).text

        assert 'gateway_cache_total{result="hit"}' in page
        assert 'gateway_cache_total{result="miss"}' in page


def test_both_outlive_a_restart(tmp_path, speaker):
    answers = []
    for _ in range(2):
        with a_gateway(tmp_path, speaker, workers=1) as gateway:
            answers += [ask(gateway, key="k-1"), ask(gateway)]

    assert answers[2].content == answers[0].content
    assert answers[3].headers["X-Gateway-Cache"] == "hit"
    assert len(speaker.heard) == 1


def test_nothing_is_told_of_a_cache_where_there_is_none(tmp_path, speaker):
    with a_gateway(tmp_path, speaker, ttl=0, workers=1) as gateway:
        every = [
            ask(gateway, headers={"Cache-Control": "only-if-cached"}) for _ in range(2)
        ]
        with contextlib.closing(sqlite3.connect(gateway.audit)) as database:
            rows = database.execute("SELECT count(*) FROM answers").fetchone()

    assert {"X-Gateway-Cache", "Cache-Status", "Age"} & {*every[1].headers} == set()
    assert (len(speaker.heard), rows) == (2, (0,))


CANARY = "sk-proj-canary0canary1canary2canary3canary4canary5"
WORDS = "canary-words-that-nobody-else-says"


def files_with(folder, words):
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and words.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize(("content", "secret"), [("full", CANARY), ("none", WORDS)])
def test_no_secret_is_in_any_file_in_clear(tmp_path, speaker, content, secret):
    speaker.script = (f"the answer is {secret} ", "world")
    question = [{"role": "user", "content": f"the question is {secret}"}]
    (memory := tmp_path / "memory").mkdir()
    with a_gateway(
        tmp_path, speaker, audit_content=content, shared_dir=memory
    ) as gateway:
        key = f"key-{WORDS}"
        for _ in range(2):
            answer = ask(gateway, messages=question)
        keyed = [ask(gateway, key=key, messages=question) for _ in range(2)]
        assert files_with(tmp_path, secret) == []
        assert files_with(tmp_path, key) == []

    assert files_with(tmp_path, secret) == []
    assert secret in answer.text
    if content == "full":
        assert keyed[1].content == keyed[0].content
    else:
        assert keyed[1].status_code == 409
        told = keyed[1].json()["error"]
        assert told["code"] == "answer_not_kept"
        assert keyed[0].headers["X-Gateway-Audit-Id"] in told["message"]
        assert keyed[1].headers["x-should-retry"] == "false"
