import pytest

from app.gateway.error_categories import FAULTS
from app.gateway.errors import BadReply, CallerGone, NoAnswer, Unfit, UpstreamError
from app.gateway.guard.blame import BLAME, Blame, blame


def test_every_fault_says_whom_it_blames():
    assert set(BLAME) == set(FAULTS)


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_blames_the_server_only_where_no_request_can_bring_it_about(fault):
    """The words for it are those of docs/settings.md and the operating guide."""
    expected = {
        "upstream_connect": Blame.SERVER,
        "upstream_timeout": Blame.UNSURE,
        "upstream_refused": Blame.SERVER,
        "upstream_bad_reply": Blame.SERVER,
        "gateway_internal": Blame.SERVER,
        "caller_unsupported": Blame.REQUEST,
        "policy_content_filter": Blame.REQUEST,
        "policy_stream_limit": Blame.REQUEST,
        "upstream_rejected": Blame.REQUEST,
        "upstream_passed_over": Blame.NOBODY,
        "gateway_no_socket": Blame.NOBODY,
        "upstream_rate_limited": Blame.NOBODY,
        "upstream_auth": Blame.NOBODY,
        "upstream_quota": Blame.NOBODY,
    }
    exceptions = {
        "silent": Blame.SERVER,  # its health did not answer either
        "bad_tool_call": Blame.REQUEST,  # a model's words, that the caller asked for
        "bad_status": Blame.REQUEST,  # a 4xx: it is alive and dislikes the request
        "diverged": Blame.REQUEST,  # it was to say what another one has said
        "empty": Blame.REQUEST,  # one word, or a stop sequence, was asked for
        "too_large": Blame.REQUEST,  # a limit of ours
    }

    assert BLAME[fault] is exceptions.get(fault, expected[FAULTS[fault]])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, Blame.NOBODY),
        (CallerGone(), Blame.NOBODY),
        (ValueError("ours"), Blame.NOBODY),
        (UpstreamError("new"), Blame.REQUEST),
        (Unfit("context_length"), Blame.REQUEST),
        (BadReply("schema"), Blame.SERVER),
        (NoAnswer("first_token"), Blame.UNSURE),
    ],
    ids=repr,
)
def test_what_an_error_says(error, expected):
    assert blame(error) is expected
