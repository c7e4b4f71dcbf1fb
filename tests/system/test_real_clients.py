"""Official clients, unmodified, in front of the gateway, with a real model behind it.

What they send is theirs, what comes back is read by them: a test says only what a user
of the client would look at.
"""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import anthropic
import openai
import pytest
import requests
from pydantic import BaseModel

from tests.support.real_model import RealModel, needs_the_model
from tests.support.stack import TOKEN, Gateway, wait_until

pytestmark = needs_the_model

SAY = "Say hello."
HELLO = [{"role": "user", "content": SAY}]
TOO_LONG = "word " * 1100
# At this temperature it ends by itself; by chance it may talk to its limit.
CALM = {"temperature": 0}
CONFIG = """
[[upstreams]]
name = "toy"
kind = "openai"
url = "{toy}"
concurrency = 2
serves = ["chat", "completions", "embeddings"]
context_length = 1024
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    with RealModel(folder, "toy", "--embeddings") as toy:
        config = folder / "gateway.toml"
        config.write_text(CONFIG.format(toy=toy.url))
        with Gateway(folder, config=config, workers=1, queue_wait=30) as gateway:
            wait_until(lambda: gateway.upstreams_are(toy="up"))
            yield gateway


class Town(BaseModel):
    name: str


class TestOpenAI:
    @pytest.fixture
    def client(self, gateway):
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=TOKEN) as client:
            yield client

    def test_chat(self, client):
        answer = client.chat.completions.create(
            model="any", messages=HELLO, max_tokens=5
        )

        assert answer.choices[0].message.content
        assert answer.usage.completion_tokens == 5

    def test_chat_as_a_stream(self, client):
        with client.chat.completions.stream(
            model="any", messages=HELLO, stop=["."], **CALM
        ) as stream:
            said = "".join(e.delta for e in stream if e.type == "content.delta")
            final = stream.get_final_completion()

        assert said
        assert final.choices[0].message.content == said

    def test_an_answer_in_a_format(self, client):
        answer = client.chat.completions.parse(
            model="any", messages=HELLO, max_tokens=60, response_format=Town
        )

        assert isinstance(answer.choices[0].message.parsed, Town)

    def test_responses(self, client):
        answer = client.responses.create(
            model="any", input=SAY, store=False, max_output_tokens=5
        )

        assert answer.output_text
        assert answer.usage.output_tokens == 5

    def test_responses_as_a_stream(self, client):
        with client.responses.stream(
            model="any", input=SAY, store=False, **CALM
        ) as stream:
            said = "".join(
                e.delta for e in stream if e.type == "response.output_text.delta"
            )
            final = stream.get_final_response()

        assert (final.status, final.output_text) == ("completed", said)

    def test_models(self, client):
        names = [model.id for model in client.models.list()]

        assert names == ["toy"]
        assert client.models.retrieve("toy").context_length == 1024

    def test_embeddings(self, client):
        answer = client.embeddings.create(model="toy", input=["a cat", "a dog"])

        assert len({len(one.embedding) for one in answer.data}) == 1
        assert [one.index for one in answer.data] == [0, 1]

    def test_text_completions(self, client):
        answer = client.completions.create(model="toy", prompt="One, two", max_tokens=4)

        assert answer.choices[0].text

    def test_too_long_a_conversation_is_their_bad_request(self, client):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model="any", messages=[{"role": "user", "content": TOO_LONG}]
            )

        assert caught.value.code == "context_length_exceeded"


class TestAnthropic:
    @pytest.fixture
    def client(self, gateway):
        with anthropic.Anthropic(base_url=gateway.url, api_key=TOKEN) as client:
            yield client

    def test_a_message(self, client):
        answer = client.messages.create(model="any", messages=HELLO, max_tokens=5)

        assert answer.content[0].text
        assert answer.stop_reason == "max_tokens"
        assert answer.usage.output_tokens == 5

    def test_a_message_as_a_stream(self, client):
        with client.messages.stream(
            model="any", messages=HELLO, max_tokens=5, system="You are brief."
        ) as stream:
            said = "".join(stream.text_stream)
            final = stream.get_final_message()

        assert said
        assert final.content[0].text == said
        assert final.stop_reason == "max_tokens"

    def test_tokens_are_counted(self, client):
        count = client.messages.count_tokens(model="any", messages=HELLO)

        assert count.input_tokens > 0

    def test_too_long_a_conversation_is_their_bad_request(self, client):
        with pytest.raises(anthropic.BadRequestError, match="context_length_exceeded"):
            client.messages.create(
                model="any",
                messages=[{"role": "user", "content": TOO_LONG}],
                max_tokens=5,
            )


class TestLangChain:
    @pytest.fixture
    def langchain(self):
        return import_module("langchain_openai")

    @pytest.fixture
    def connect(self, langchain, gateway):
        def connect(kind=langchain.ChatOpenAI, **options):
            address = {"base_url": f"{gateway.url}/v1", "api_key": TOKEN}
            return kind(**address, http_client=http, model="toy", **options)

        with openai.DefaultHttpxClient() as http:
            yield connect

    @pytest.mark.parametrize("by_responses", [False, True])
    def test_chat_and_stream(self, connect, by_responses):
        model = connect(use_responses_api=by_responses, max_tokens=16)

        whole = model.invoke(SAY)
        chunks = list(model.stream(SAY))

        assert whole.text
        assert whole.usage_metadata["output_tokens"] > 0
        assert "".join(chunk.text for chunk in chunks)
        assert len(chunks) > 2

    def test_an_answer_in_a_format(self, connect):
        model = connect(max_tokens=60).with_structured_output(Town)

        assert isinstance(model.invoke("Name a town."), Town)

    def test_too_long_a_conversation_is_known_as_that(self, connect):
        """Its middleware that sums conversations up waits for this very class."""
        exceptions = import_module("langchain_core.exceptions")

        with pytest.raises(exceptions.ContextOverflowError):
            connect().invoke(TOO_LONG)

    def test_embeddings(self, langchain, connect):
        model = connect(langchain.OpenAIEmbeddings, check_embedding_ctx_length=False)

        assert len(model.embed_documents(["a cat", "a dog"])) == 2


@pytest.fixture(scope="module")
def made(gateway, tmp_path_factory):
    """The package, and what its maker said."""
    folder = tmp_path_factory.mktemp("generated")
    document = folder / "openapi.json"
    answer = requests.get(
        f"{gateway.url}/operator/api/openapi.json",
        headers={"X-VX11-Token": TOKEN},
        timeout=30,
    )
    document.write_bytes(answer.content)
    tools = str(Path(sys.executable).parent)
    said = subprocess.run(
        [
            f"{tools}/openapi-python-client",
            "generate",
            "--path",
            document,
            "--meta",
            "none",
            "--output-path",
            folder / "generated_client",
        ],
        env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return folder, answer.json(), said.stdout + said.stderr


class TestGeneratedFromTheDocument:
    """What openapi-python-client makes of the document that the gateway serves."""

    @pytest.fixture
    def generated(self, made, monkeypatch):
        """Import a module of the package by its name."""
        monkeypatch.syspath_prepend(made[0])
        return lambda name: import_module(f"generated_client{name}")

    @pytest.fixture
    def client(self, generated, gateway):
        with generated("").AuthenticatedClient(gateway.url, TOKEN) as client:
            yield client

    def test_every_operation_is_in_it_and_nothing_was_left_out(self, made):
        folder, document, said = made

        assert "arning" not in said, said
        modules = {path.stem for path in (folder / "generated_client/api").glob("*/*")}
        wanted = {
            one["operationId"]
            for path in document["paths"].values()
            for one in path.values()
        }
        assert wanted <= modules

    def test_it_chats(self, generated, client):
        models = generated(".models")

        answer = generated(".api.chat.post_chat").sync(
            client=client, body=models.ChatRequest(message=SAY)
        )

        assert isinstance(answer, models.ChatResponse)
        assert answer.response
        assert answer.provider == "toy"

    def test_it_speaks_openais_chat(self, generated, client):
        models = generated(".models")
        message = models.Message(role=models.MessageRole("user"), content=SAY)
        body = models.CompletionRequest(messages=[message], model="any")
        body["max_tokens"] = 5

        answer = generated(".api.open_ai.post_completion").sync(
            client=client, body=body
        )

        assert answer.choices[0].message.content

    def test_a_bad_request_is_its_error(self, generated, client):
        models = generated(".models")

        answer = generated(".api.chat.post_chat").sync(
            client=client, body=models.ChatRequest(message="")
        )

        assert isinstance(answer, models.Error)
