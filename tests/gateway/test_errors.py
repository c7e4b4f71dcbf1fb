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


EXPECTED = {  # class: (next upstream?, held against it?, caller sees)
    "NeverSent": (True, False, 503),
    "ConnectFailed": (True, True, 503),
    "Refused": (True, True, 503),
    "ContextTooLong": (True, False, 400),
    "UnknownModel": (True, False, 404),
    "Rejected": (True, False, 502),
    "ContentFiltered": (False, False, 400),
    "Unsupported": (False, False, 400),
    "BadReply": (True, True, 503),
    "NoAnswer": (True, True, 503),
    "CallerFault": (False, False, 502),
    "Interrupted": (False, True, 502),
    "NobodyAnswered": (False, False, 503),
    "CallerGone": (False, False, 499),
    "Overloaded": (False, False, 503),
    "AuditUnavailable": (False, False, 503),
    "SearchTookTooLong": (False, False, 503),
}


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items())
def test_the_table_of_design_section_4(name, expected):
    found = CONSEQUENCES[getattr(errors, name)]

    assert (found.fails_over, found.counts, found.status) == expected


@pytest.mark.parametrize("fault", ["rate_limited", "upstream_auth"])
def test_a_full_or_unauthorised_upstream_is_a_sign_of_life(fault):
    assert errors.may_fail_over(errors.Refused(fault))
    assert not errors.counts_against(errors.Refused(fault))
    assert errors.counts_against(errors.Refused("http_5xx"))


def test_an_unknown_failure_is_ours_and_reaches_nobody_else():
    found = consequence(UpstreamError("new"))

    assert (found.fails_over, found.counts, found.status) == (False, False, 500)
