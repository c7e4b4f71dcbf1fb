import pytest

from app.gateway import errors
from app.gateway.errors import CONSEQUENCES, GatewayError, UpstreamError, consequence


def all_kinds(kind=GatewayError):
    yield kind
    for child in kind.__subclasses__():
        yield from all_kinds(child)


LEAVES = [k for k in all_kinds() if not k.__subclasses__()]


@pytest.mark.parametrize("kind", LEAVES, ids=lambda k: k.__name__)
def test_every_failure_has_its_consequence_written_down(kind):
    assert kind in CONSEQUENCES


EXPECTED = {  # class: (next upstream?, caller sees)
    "NeverSent": (True, 503),
    "ConnectFailed": (True, 503),
    "Refused": (True, 503),
    "ContextTooLong": (True, 400),
    "Rejected": (True, 502),
    "UnknownModel": (True, 404),
    "ContentFiltered": (False, 400),
    "Unsupported": (False, 400),
    "BadReply": (True, 503),
    "NoAnswer": (True, 503),
    "CallerFault": (False, 502),
    "Interrupted": (False, 502),
    "NobodyAble": (False, 503),
    "NobodyAnswered": (False, 503),
    "CallerGone": (False, 499),
    "Overloaded": (False, 503),
    "AuditUnavailable": (False, 503),
    "SearchTookTooLong": (False, 503),
}


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items())
def test_what_follows_from_a_failure(name, expected):
    found = CONSEQUENCES[getattr(errors, name)]

    assert (found.fails_over, found.status) == expected


def test_an_unknown_failure_is_ours_and_reaches_nobody_else():
    found = consequence(UpstreamError("new"))

    assert (found.fails_over, found.status) == (False, 500)
