"""The official OpenAI client, unmodified, against the gateway on the real stack."""

import threading
import time

import openai
import pytest

from sandbox.openai import OpenAI, Voice
from sandbox.server import SandboxServer
from tests.support.speaker import CUT, Speaker, chunk
from tests.support.stack import TOKEN, FrontDoor, Gateway, sandbox, wait_until

USER = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    },
}

CONFIG = """
[[upstreams]]
name = "speaker"
kind = "openai"
url = "{speaker}"
first_token_timeout = 2
retries = 0

[[upstreams]]
name = "switch"
kind = "switch"
url = "{switch}"

[[upstreams]]
name = "madre"
kind = "madre"
url = "{madre}"
timeout = 5

[[upstreams]]
name = "stand-in"
kind = "openai"
url = "{stand_in}/v1"
retries = 0

[[routes]]
model = "local-only"
upstreams = ["madre"]

[[routes]]
model = "*"
upstreams = ["speaker", "switch", "madre", "stand-in"]

[[routes]]
model = "words-only"
upstreams = ["speaker"]

[[routes]]
model = "stand-in-only"
upstreams = ["stand-in"]
"""


@pytest.fixture(scope="module")
def speaker():
    with Speaker() as speaker:
        yield speaker


@pytest.fixture(scope="module")
def stand_in():
    with SandboxServer(OpenAI(voice=Voice("Good morning to you", pace=0.01))) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, speaker, stand_in):
    folder = tmp_path_factory.mktemp("openai")
    with sandbox() as (switch, madre):
        config = folder / "gateway.toml"
        urls = {
            "speaker": speaker.url,
            "switch": switch.url,
            "madre": madre.url,
            "stand_in": stand_in.url,
        }
        config.write_text(CONFIG.format(**urls))
        with Gateway(folder, config=config, workers=1) as gateway:
            yield gateway


@pytest.fixture(scope="module")
def door(gateway):
    with FrontDoor(gateway.folder, gateway) as door:
        yield door


@pytest.fixture(autouse=True)
def _fresh(speaker, gateway):
    speaker.script = ("Hello ", "world")
    speaker.was_left.clear()
    speaker.heard.clear()
    wait_until(lambda: gateway.upstreams_are(speaker="up", switch="up", madre="up"))


@pytest.fixture
def connect():
    """Make clients as their users do; they are closed after the test."""
    made = []

    def connect(url, api_key=TOKEN, **options):
        options = {"max_retries": 0, "timeout": 30} | options
        made.append(openai.OpenAI(base_url=f"{url}/v1", api_key=api_key, **options))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def client(connect, gateway):
    return connect(gateway.url)


@pytest.fixture
def complete(client):
    def complete(messages=USER, model="any", **options):
        return client.chat.completions.create(messages=messages, model=model, **options)

    return complete


class TestWhole:
    def test_an_answer(self, complete):
        answer = complete()

        assert answer.choices[0].message.content == "Hello world"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.model == "speaker-1"
        assert answer.usage.total_tokens == 7

    def test_the_raw_response_says_who_answered(self, client, gateway):
        raw = client.chat.completions.with_raw_response.create(
            messages=USER, model="any", extra_headers={"X-Correlation-ID": "raw-1"}
        )

        assert raw.headers["X-Gateway-Provider"] == "speaker"
        assert raw.headers["X-Correlation-ID"] == "raw-1"
        assert raw.parse().id == f"chatcmpl-{raw.headers['X-Gateway-Audit-Id']}"
        assert raw.parse()._request_id == "raw-1"
        [row] = gateway.records("id = ?", raw.headers["X-Gateway-Audit-Id"])
        assert (row["route"], row["outcome"]) == ("openai", "completed")

    def test_an_upstream_that_does_not_speak_openai(self, complete):
        answer = complete(model="madre", temperature=0.3, seed=7)

        assert answer.choices[0].message.content
        assert answer.choices[0].message.role == "assistant"

    def test_a_route_from_the_configuration(self, complete, speaker):
        assert complete(model="local-only").choices[0].message.content
        assert speaker.heard == []

    def test_fields_that_the_gateway_does_not_know_reach_the_upstream(
        self, complete, speaker
    ):
        complete(temperature=0.5, user="u-1", extra_body={"vendor": {"deep": [1]}})

        [heard] = speaker.heard
        assert heard["temperature"] == 0.5
        assert heard["vendor"] == {"deep": [1]}
        assert heard["user"] == "u-1"
        assert heard["messages"] == USER

    def test_tools_reach_the_upstream_and_calls_come_back(self, complete, speaker):
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"town":"Ulm"}'},
        }
        speaker.script = (
            chunk({"role": "assistant", "tool_calls": [{"index": 0} | call]}),
            chunk({}, "tool_calls"),
            b"data: [DONE]\n\n",
            CUT,
        )

        with complete(tools=[WEATHER], stream=True) as stream:
            chunks = list(stream)

        assert speaker.heard[0]["tools"] == [WEATHER]
        [told] = chunks[0].choices[0].delta.tool_calls
        assert told.function.arguments == '{"town":"Ulm"}'
        assert chunks[-1].choices[0].finish_reason == "tool_calls"

    def test_the_models_are_listed(self, client):
        names = [model.id for model in client.models.list()]

        assert names == [
            "local-only",
            "words-only",
            "stand-in-only",
            "speaker",
            "switch",
            "madre",
            "stand-in",
        ]


class TestStream:
    def test_words_arrive_one_by_one(self, connect, door, speaker):
        go_on = threading.Event()
        speaker.script = ("one ", go_on, "two")

        with connect(door.url).chat.completions.create(
            messages=USER, model="any", stream=True
        ) as stream:
            assert next(stream).choices[0].delta.content == "one "
            go_on.set()
            *_, last = stream

        assert last.choices[0].finish_reason == "stop"

    def test_usage_when_asked_for(self, complete):
        options = {"include_usage": True}
        with complete(stream=True, stream_options=options) as stream:
            *_, last = stream

        assert (last.choices, last.usage.total_tokens) == ([], 7)

    def test_the_clients_own_accumulation(self, client):
        with client.chat.completions.stream(messages=USER, model="any") as stream:
            message = stream.get_final_completion().choices[0].message

        assert (message.role, message.content) == ("assistant", "Hello world")

    def test_an_upstream_that_cannot_stream(self, complete):
        with complete(stream=True, model="madre") as stream:
            text = "".join(c.choices[0].delta.content or "" for c in stream)

        assert text

    def test_a_stream_that_breaks_is_an_exception(self, complete, speaker):
        speaker.script = ("Half an ans", CUT)

        with complete(stream=True) as stream:
            assert next(stream).choices[0].delta.content == "Half an ans"
            with pytest.raises(openai.APIError, match="broke off") as caught:
                next(stream)

        assert caught.value.code == "reply_interrupted"

    def test_a_stream_that_is_left_reaches_the_upstream(self, complete, speaker):
        speaker.script = ("one ", threading.Event())

        with complete(stream=True) as stream:
            next(stream)
            left_at = time.monotonic()

        assert speaker.was_left.wait(10)
        assert time.monotonic() - left_at < 3


class TestErrors:
    def test_a_wrong_token(self, connect, gateway):
        with pytest.raises(openai.AuthenticationError) as caught:
            connect(gateway.url, api_key="wrong").models.list()

        assert caught.value.code == "invalid_api_key"

    def test_a_bad_request(self, complete):
        with pytest.raises(openai.BadRequestError) as caught:
            complete(messages=[])

        assert (caught.value.param, caught.value.code) == (
            "messages",
            "invalid_request",
        )

    def test_a_need_that_nobody_meets(self, complete):
        with pytest.raises(openai.BadRequestError) as caught:
            complete(model="local-only", tools=[WEATHER], tool_choice="required")

        assert caught.value.code == "unsupported"

    def test_what_the_front_door_refuses(self, connect, door):
        huge = [{"role": "user", "content": "x" * 22_000_000}]

        with pytest.raises(openai.APIStatusError) as caught:
            connect(door.url).chat.completions.create(messages=huge, model="any")

        assert caught.value.status_code == 413
        assert caught.value.code == "request_entity_too_large"
        assert caught.value.type == "invalid_request_error"

    def test_something_that_is_not_offered(self, client):
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="any", input="Hello")

    def test_nobody_answers(self, complete, speaker):
        speaker.script = (CUT,)

        with pytest.raises(openai.InternalServerError) as caught:
            complete(model="words-only")

        assert caught.value.status_code == 503
        assert caught.value.code == "upstream_unavailable"

    def test_the_gateways_deadline(self, complete, speaker):
        speaker.script = (threading.Event(),)

        with pytest.raises(openai.InternalServerError):
            complete(model="words-only", extra_headers={"X-Gateway-Deadline-Ms": "500"})

    @pytest.mark.parametrize("is_streamed", [True, False])
    def test_the_clients_own_timeout(self, complete, speaker, is_streamed):
        speaker.script = (threading.Event(),)

        with pytest.raises(openai.APITimeoutError):
            complete(stream=is_streamed, timeout=0.5)

        assert speaker.was_left.wait(10)


class TestInFrontOfTheSandbox:
    """A real OpenAI-speaking server, which streams, calls tools, and breaks."""

    @pytest.fixture(autouse=True)
    def _healed(self, stand_in):
        yield
        stand_in.heal()

    @pytest.fixture
    def ask(self, complete):
        def ask(**options):
            return complete(model="stand-in-only", **options)

        return ask

    def test_a_whole_answer(self, ask):
        answer = ask()

        assert answer.choices[0].message.content == "Good morning to you"
        assert answer.usage.total_tokens > 0

    def test_a_stream(self, ask):
        options = {"include_usage": True}
        with ask(stream=True, stream_options=options) as stream:
            *chunks, last = stream

        words = [c.choices[0].delta.content or "" for c in chunks]
        assert "".join(words) == "Good morning to you"
        assert len(words) >= 4
        assert last.usage.total_tokens > 0

    def test_a_tool_is_called(self, ask):
        answer = ask(tools=[WEATHER])

        [call] = answer.choices[0].message.tool_calls
        assert call.function.name == "weather"
        assert answer.choices[0].finish_reason == "tool_calls"

    def test_a_tool_is_called_in_a_stream(self, client):
        with client.chat.completions.stream(
            messages=USER, model="stand-in-only", tools=[WEATHER]
        ) as stream:
            [choice] = stream.get_final_completion().choices

        assert choice.message.role == "assistant"
        assert choice.message.tool_calls[0].function.name == "weather"
        assert choice.finish_reason == "tool_calls"

    @pytest.mark.parametrize("is_streamed", [True, False])
    def test_several_choices(self, ask, is_streamed):
        answer = ask(n=2, stream=is_streamed)
        if is_streamed:
            with answer as stream:
                seen = {c.index for chunk in stream for c in chunk.choices}
        else:
            seen = {choice.index for choice in answer.choices}

        assert seen == {0, 1}

    @pytest.mark.parametrize("is_streamed", [True, False])
    def test_a_filtered_request_is_no_outage(self, ask, stand_in, is_streamed):
        stand_in.break_with("content_filter")

        with pytest.raises(openai.BadRequestError) as caught:
            ask(stream=is_streamed)

        assert caught.value.code == "content_filter"
