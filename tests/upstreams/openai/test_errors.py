"""What is understood of an upstream's errors, in every shape and wording."""

import json

import pytest

from app.gateway.chat import Message
from app.gateway.errors import (
    BadReply,
    CallerFault,
    ContentFiltered,
    ContextTooLong,
    Refused,
    Rejected,
    Unfit,
    UnknownModel,
)
from app.gateway.guard.blame import Blame, blame
from app.upstreams.http.statuses import LONGEST_REST
from app.upstreams.openai.errors.meanings import failure, is_failure, refusal
from app.upstreams.openai.errors.reading import Echo
from tests.support.fakes import a_request

TOO_LONG = [
    "This model's maximum context length is 4096 tokens. However, you requested 5000.",
    "Your input exceeds the context window of this model.",
    "Input tokens exceed the configured limit of 272000 tokens.",
    "request (5000 tokens) exceeds the available context size (4096 tokens)",
    "Context size has been exceeded.",
    "prompt too long; exceeded max context length by 5 tokens",
    "prompt is too long: 213462 tokens > 200000 maximum",
    "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
    "Prompt contains 40000 tokens, too large for model with 32768 maximum",
    "Request too large for model `x` on tokens per minute (TPM): Limit 6, Requested 9.",
    "Please reduce the length of the messages or completion.",
    "The input token count (119) exceeds the maximum number of tokens allowed (104).",
    "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
    "`inputs` must have less than 1024 tokens. Given: 2000",
    "Input length (700001 tokens) exceeds the maximum allowed length (536826 tokens).",
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "Requested tokens (5000) exceed context window of 2048",
    "The number of tokens to keep is greater than the context length",
    "This model's maximum prompt length is 131072 but the request contains 537812.",
    "Your request exceeded model token limit: 262144",
    "Range of input length should be [1, 30720]",
    "Input is too long for requested model.",
    "prompt token count of 130000 exceeds the limit of 128000",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096",
    "max_tokens must be at least 1, got -100.",
    "Prompt length 9000 is greater than max_seq_len 8192",
    "This request has 9000 tokens which is over the limit of 8192",
    "Requested 9000 tokens, but only 8192 are available",
    "You have exceeded the maximum input size",
    "Unable to fit the prompt in the context",
    "Total number of tokens must be less than 8192",
    "Your request was too long",
    "4000 prompt tokens + max tokens must be <= 4096",
    "The total tokens, 9000, are more than the 8192 that the model can handle",
    "max_tokens cannot be greater than max_model_len",
    "输入长度超过模型最大长度",
]
UNKNOWN = [
    'model "m" not found, try pulling it first',
    "The model `m` does not exist.",
    "m is not a valid model ID",
    "Invalid model name passed in model=m. Call `/v1/models` to view models.",
    "Invalid model: m",
    "could not find real modelID for m",
    "Model Not Exist",
    "could not load model - all backends returned error",
    "Project `p` does not have access to model `m`",
    "No models loaded. Please load a model in the developer page.",
    "No endpoints found for foo/bar.",
    "no available channel for model m under group default",
    "The API deployment for this resource does not exist.",
    "models/m is not found for API version v1, or is not supported for generateContent",
    "Not found the model m or Permission denied",
    "The model m has been deprecated",
    "The model has been decommissioned and is no longer supported",
    "There is no model m",
    "Model m isn't available",
    "model must be one of a, b",
    "模型不存在",
    "LLM Provider NOT provided. Pass in the LLM provider you are trying to call.",
    "Team not allowed to access model",
    "Only m allowed now, your model x",
    "对于模型 m 无可用渠道",
]
UNABLE = [
    "image input is not supported - hint: you may need to provide the mmproj",
    "audio input is not supported",
    "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101]",
    "No endpoints found that support tool use.",
    "registry.ollama.ai/library/m does not support tools",
    '"auto" tool choice requires --enable-auto-tool-choice to be set',
    "tools param requires --jinja flag",
    "Unsupported parameter: 'logprobs' is not supported with this model.",
    "Unrecognized request argument supplied: stream_options",
    'Unknown name "stream_options": Cannot find field.',
    "Only one completion choice is allowed",
    "m is not a multimodal model",
    "At most 0 image(s) may be provided in one request.",
    "Conversation roles must alternate user/assistant/user/assistant/...",
    "Failed to parse grammar",
    "JSON schema conversion failed: Unrecognized schema",
    "Unable to generate parser for this template.",
    "Jinja Exception: System message must be at the beginning",
    "Extra inputs are not permitted",
    "Failed to load image or audio file",
    "Unsupported value: 'temperature' does not support 0.2 with this model.",
    "property 'reasoning' is unsupported",
    "logprobs is not available",
    "'tool_choice' is not allowed",
    "unknown variant `image_url`, expected `text`",
    "messages[0].content: expected string, got list",
    "tool role is invalid",
    "JSON mode cannot be combined with tool calling",
    "This model doesn't support function calling",
    "m can't use tools",
    "Function calling is unavailable for this model",
    "tool calls are disabled",
    "Model m has no tool support",
    "Unexpected message role.",
    "json: cannot unmarshal array into Go struct field .messages.content",
    "messages[0].content: invalid type: sequence, expected a string",
    "invalid message content type: []interface {}",
    "web_search_options is not compatible with this model",
]
TOO_FAST = [
    "Rate limit reached for requests",
    "ThrottlingException: Too many tokens, please wait before trying again.",
    "Rate limit exceeded: free-models-per-day",
    "Resource exhausted. Please try again later.",
    "Quota exceeded for quota metric 'requests per minute'",
    "请求过于频繁",
]
QUOTA = [
    "You exceeded your current quota, please check your plan and billing details.",
    "user quota is not enough",
    "Your credit balance is too low to access the API.",
    "Insufficient Balance",
    "This request requires more credits. You can only afford 100",
    "No credits left",
    "Your trial has expired",
    "Your account balance is negative",
    "ExceededBudget: over",
    "The free tier of the model has been exhausted.",
    "Please make sure your account is in good standing.",
]
FILTERED = [
    "The response was filtered: it triggered Azure OpenAI's content management policy",
    "Your input was flagged by moderation",
    "Your request was rejected as a result of our safety system",
    "Input data may contain inappropriate content",
    "guardrail intervened",
    "Violated guardrail policy",
    "Content Exists Risk",
    "The request was considered high risk",
]
BAD_KEY = [
    "API key not valid. Please pass a valid API key.",
    "Incorrect API key provided",
    "Authentication failed",
]
KINDS = [
    (TOO_LONG, ContextTooLong, "context_length"),
    (UNKNOWN, UnknownModel, "unknown_model"),
    (UNABLE, Unfit, "unsupported"),
    (TOO_FAST, Refused, "rate_limited"),
    (QUOTA, Refused, "quota"),
    (FILTERED, ContentFiltered, "content_filter"),
    (BAD_KEY, Refused, "upstream_auth"),
]
WORDINGS = [(w, kind, fault) for words, kind, fault in KINDS for w in words]

SHAPES = {
    "object": lambda words: {"error": {"message": words, "type": "x", "code": None}},
    "text": lambda words: {"error": words},
    "top": lambda words: {"object": "error", "message": words, "param": None},
    "detail": lambda words: {"detail": words},
    "problems": lambda words: {"detail": [{"loc": ["body"], "msg": words, "input": 1}]},
    "list": lambda words: [{"error": {"message": words, "details": [{}]}}],
    "errors": lambda words: {"errors": [{"message": words}]},
    "inner": lambda words: {"message": {"detail": [{"msg": words}]}},
    "raw": lambda words: {
        "error": {
            "message": "Provider returned error",
            "metadata": {"raw": json.dumps({"error": {"message": words}})},
        }
    },
    "cited": lambda words: {
        "error": {"message": f"OpenAIException - {json.dumps({'message': words})}"}
    },
    "printed": lambda words: {
        "error": {"message": f"Error code: 500 - { {'error': {'message': words}} }"}
    },
}


def refused(status, value, echo=None, **headers):
    told = {name.replace("_", "-"): text for name, text in headers.items()}
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return refusal(status, told, body, *([echo] if echo else []))


def is_a(error, kind, fault):
    assert (type(error), error.fault) == (kind, fault)
    assert blame(error) in {Blame.REQUEST, Blame.NOBODY}


@pytest.mark.parametrize(("words", "kind", "fault"), WORDINGS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_each_wording_is_known_in_each_shape_and_with_each_status(
    words, kind, fault, shape
):
    for status in (400, 404, 413, 422, 500, 503):
        is_a(refused(status, shape(words)), kind, fault)


def test_one_request_beyond_a_limit_per_minute_gives_nobody_a_rest():
    """Whoever sent one each minute would keep all others from the upstream."""
    words = "Request too large for gpt-4 on tokens per min (TPM): Limit 6, Requested 9."
    value = {"error": {"message": words, "code": "rate_limit_exceeded"}}

    error = refused(429, value, retry_after="60")

    is_a(error, ContextTooLong, "context_length")
    assert error.retry_after is None


@pytest.mark.parametrize(("words", "kind", "fault"), WORDINGS)
def test_and_as_text_as_a_page_and_in_place_of_an_answer(words, kind, fault):
    is_a(refused(500, words.encode()), kind, fault)
    if "<" not in words:
        page = f"<html><body><h1>Error</h1><p>{words}</p></body></html>"
        is_a(refused(500, page.encode()), kind, fault)
    for value in (SHAPES["object"](words), SHAPES["list"](words)):
        assert is_failure(value)
        is_a(failure(value, 200), kind, fault)
    is_a(failure({"choices": [{"error": {"message": words}}]}, 200), kind, fault)


@pytest.mark.parametrize(
    ("status", "error", "kind", "fault"),
    [
        (400, {"code": "context_length_exceeded"}, ContextTooLong, "context_length"),
        (500, {"type": "exceed_context_size_error"}, ContextTooLong, "context_length"),
        (400, {"code": "string_above_max_length"}, ContextTooLong, "context_length"),
        (400, {"type": "invalid_model", "code": "1500"}, UnknownModel, "unknown_model"),
        (403, {"code": "model_not_found"}, UnknownModel, "unknown_model"),
        (404, {"code": "DeploymentNotFound"}, UnknownModel, "unknown_model"),
        (400, {"param": "model", "message": "m?"}, UnknownModel, "unknown_model"),
        (429, {"code": "insufficient_quota"}, Refused, "quota"),
        (403, {"code": "insufficient_user_quota"}, Refused, "quota"),
        (402, {"message": "no"}, Refused, "quota"),
        (413, {"code": "rate_limit_exceeded"}, Refused, "rate_limited"),
        (400, {"status": "RESOURCE_EXHAUSTED"}, Refused, "rate_limited"),
        (500, {"code": 429, "message": "no"}, Refused, "rate_limited"),
        (500, {"code": "401", "message": "no"}, Refused, "upstream_auth"),
        (500, {"code": 400, "message": "no"}, Rejected, "upstream_rejected"),
        (500, {"type": "BadRequestError"}, Rejected, "upstream_rejected"),
        (400, {"code": "ResponsibleAIPolicyViolation"}, ContentFiltered, None),
        (403, {"code": "content_filter"}, ContentFiltered, None),
        (400, {"message": "SAFETY"}, ContentFiltered, None),
        (401, {"type": "key_model_access_denied"}, UnknownModel, "unknown_model"),
        (403, {"code": "rate_limit_exceeded"}, Refused, "rate_limited"),
        (
            429,
            {"code": "token_quota_exceeded", "message": "5 tokens per minute"},
            Refused,
            "rate_limited",
        ),
        (
            404,
            {"code": "DeploymentNotFound", "message": "please wait"},
            UnknownModel,
            None,
        ),
        (501, {"message": "no"}, Unfit, "unsupported"),
        (401, {"message": "model m not found"}, Refused, "upstream_auth"),
        (403, {"message": "not permitted"}, Refused, "upstream_auth"),
        (429, {"message": "maximum context length"}, Refused, "rate_limited"),
        (400, {"message": "There was an error parsing the body"}, CallerFault, None),
        (
            400,
            {"message": "Invalid type for 'temperature': expected a decimal"},
            CallerFault,
            None,
        ),
        (422, {"message": "Field required"}, Rejected, "upstream_rejected"),
        (422, {"detail": [{"loc": ["body", "model"]}]}, UnknownModel, "unknown_model"),
        (404, {"message": "404 page not found"}, BadReply, "bad_status"),
        (500, {"message": "CUDA out of memory", "code": 500}, Refused, "http_5xx"),
        (529, {"message": "no"}, Refused, "http_5xx"),
        *((s, {"message": "no"}, BadReply, "bad_status") for s in (408, 409, 424, 499)),
    ],
    ids=str,
)
def test_codes_and_types_go_before_words_and_both_before_the_status(
    status, error, kind, fault
):
    found = refused(status, {"error": error})

    assert (type(found), found.status) == (kind, status)
    assert fault is None or found.fault == fault


@pytest.mark.parametrize(
    "words",
    [
        "llama runner process has terminated: signal: killed",
        "KV cache full",
        "Loading model",
        "The model is currently overloaded. Please try again later.",
        "timed out waiting for input",
        "The model is currently not available",
        "Model m is not available right now due to high demand",
        "context deadline exceeded",
        "max retries exceeded with url",
        "list index out of range",
        "no healthy upstream",
    ],
)
def test_an_outage_stays_one(words):
    found = refused(500, {"error": {"message": words, "code": 500}})

    assert (found.fault, blame(found)) == ("http_5xx", Blame.SERVER)
    assert failure({"error": {"message": words, "code": 500}}, 200).fault == (
        "upstream_error"
    )


@pytest.mark.parametrize(
    "error",
    [
        {"message": "json_schema is enabled only for later versions"},
        {"message": "This response_format type is unavailable now"},
        {"message": "Developer instruction is not enabled for this model"},
        {"message": "Not the same number of function calls and responses"},
        {"message": "tool_choice must be one of auto, none"},
        {"message": "Parameter 'service_tier' is invalid for this account"},
        {"message": "'response_format.type' must be 'json_schema' or 'text'"},
        {"message": "Request payload size exceeds the limit: 20971520 bytes."},
        {"message": "thinking is not enabled"},
        {"message": "tool_calls must be followed by tool messages"},
        {"message": "tool_call_id is not found in the tool calls"},
        {"message": "invalid image"},
        {"message": "no", "param": "reasoning_effort"},
        {"message": "no", "param": "messages[0].role"},
        {"message": "no", "loc": ["body", "top_k"]},
    ],
    ids=str,
)
def test_a_form_that_one_server_does_not_take_another_may(error):
    found = refused(400, {"error": error})

    is_a(found, Rejected, "upstream_rejected")
    assert type(refused(400, {"error": {"message": "no", "param": "messages"}})) is (
        CallerFault
    )


THEIRS = "What is a content filter, a rate limit or a maximum context length?"


@pytest.mark.parametrize(
    "quotes", ['"{}"', "'{}'", "`{}`", "“{}”", "«{}»", "'I can't: {}'"]
)
def test_what_is_quoted_is_never_searched(quotes):
    words = f"Invalid value for messages[0]: {quotes.format(THEIRS)}"

    assert type(refused(400, {"error": {"message": words}})) is CallerFault


@pytest.mark.parametrize("told", [THEIRS, THEIRS[:45] + "..."], ids=["whole", "cut"])
def test_nor_are_the_callers_words_and_models_where_nobody_quotes_them(told):
    asked = a_request(THEIRS, model="content-filter-large")
    echo = Echo(asked, "moderation-7b")
    words = f"content-filter-large, moderation-7b: bad value {told}"

    assert type(refused(400, {"error": {"message": words}}, echo)) is CallerFault
    missing = "The model content-filter-large does not exist"
    is_a(refused(400, {"error": missing}, echo), UnknownModel, "unknown_model")


@pytest.mark.parametrize(
    "fields",
    [
        {"extra": {"tools": [{"function": {"name": "f", "description": THEIRS}}]}},
        {"extra": {"response_format": {"json_schema": {"description": THEIRS}}}},
        {"extra": {"stop": ["x", THEIRS]}},
    ],
)
def test_nor_is_anything_else_that_the_caller_sent(fields):
    echo = Echo(a_request("Hi", **fields))

    error = refused(400, {"error": {"message": f"bad value {THEIRS}"}}, echo)

    assert type(error) is CallerFault


def test_nor_are_the_parts_of_a_message():
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": THEIRS}]
    said = Message("user", f"one\n{THEIRS}", {"role": "user", "content": parts})
    echo = Echo(a_request()._replace(messages=(said,)))

    error = refused(400, {"error": {"message": f"bad value {THEIRS}"}}, echo)

    assert type(error) is CallerFault


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_error_behind_a_byte_order_mark_is_read(mark):
    body = mark + json.dumps({"error": {"code": "context_length_exceeded"}}).encode()

    is_a(refused(400, body), ContextTooLong, "context_length")


def test_an_error_with_half_a_character_is_read():
    body = rb'{"error":{"message":"\ud83d","code":"context_length_exceeded"}}'

    is_a(refused(400, body), ContextTooLong, "context_length")


def test_what_a_server_repeats_as_input_is_never_searched():
    problem = {"type": "string_type", "msg": "a string", "input": THEIRS, "ctx": THEIRS}

    assert type(refused(400, {"detail": [problem]})) is CallerFault


@pytest.mark.parametrize(
    ("headers", "error", "seconds"),
    [
        ({"retry_after": "7"}, {}, 7),
        ({"retry_after": "1.5"}, {}, 1.5),
        ({"retry_after_ms": "250", "retry_after": "9"}, {}, 0.25),
        ({"retry_after_ms": "soon", "retry_after": "9"}, {}, 9),
        ({"retry_after": "Fri, 31 Dec 2060 23:59:59 GMT"}, {}, LONGEST_REST),
        ({}, {"retry_after": 3}, 3),
        ({}, {"retryAfterSeconds": 3}, 3),
        ({}, {"message": "Please try again in 6.5s."}, 6.5),
        ({}, {"message": "Try again in 120ms"}, 0.12),
        ({}, {"message": "retry after 1m2s"}, LONGEST_REST),
        ({}, {"message": "Please retry in 5 minutes"}, LONGEST_REST),
        ({}, {"details": [{"retryDelay": "37s"}]}, 37),
        ({}, {"metadata": {"headers": {"Retry-After": "4"}}}, 4),
        ({}, {"metadata": {"retry_after_seconds": 1e300}}, None),
        ({}, {"retry_after": "soon"}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_rest_is_found_in_headers_and_body(status, headers, error, seconds):
    assert refused(status, {"error": error}, **headers).retry_after == seconds


def test_who_cannot_do_this_request_needs_no_rest():
    found = refused(500, {"error": TOO_LONG[0]}, retry_after="7")

    assert found.retry_after is None


@pytest.mark.parametrize(
    ("told", "may"), [("false", False), ("true", True), ("", True)]
)
def test_an_upstream_may_forbid_to_be_asked_again(told, may):
    assert refused(500, {"error": "no"}, x_should_retry=told).may_repeat is may


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\xff\xfe", b"null", b"7", b'{"error":', b"[]", b"[" * 5000),
        *(b"Bad Request", b"<html>Header Too Large</html>"),
    ],
)
def test_a_body_of_no_shape_leaves_the_status_and_judges_no_request(body):
    assert refused(500, body).fault == "http_5xx"
    assert type(refused(400, body)) is Rejected
    assert type(refused(400, {"error": "No."})) is CallerFault


def test_a_body_that_is_cut_tells_what_came():
    body = json.dumps({"error": {"message": TOO_LONG[0] + " and so on" * 50}}).encode()

    is_a(refused(400, body[:200]), ContextTooLong, "context_length")
