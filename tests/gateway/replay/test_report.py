import pytest

from app.gateway.replay.report import Case, Report, thresholds


def a_case(record="r1", **changes):
    facts = {
        "record": record,
        "replay": f"again-{record}",
        "upstream": "madre",
        "is_answered": True,
        "is_same_outcome": True,
        "is_same_finish": True,
        "is_same_tools": True,
        "likeness": 1.0,
        "seconds_before": 1.0,
        "seconds": 1.0,
    }
    return Case(**facts | changes)


def broken(limits, *cases):
    report = Report(thresholds(limits), list(cases))
    return [(one.case.record, one.what) for one in report.broken()]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"is_same_outcome": False}, "outcome"),
        ({"is_same_finish": False}, "finish"),
        ({"is_same_tools": False}, "tools"),
        ({"likeness": 0.79}, "text"),
        ({"seconds": 3.1}, "latency"),
    ],
)
def test_each_difference_breaks_its_own_threshold(changes, what):
    limits = "outcome,finish,tools,text<0.8,latency>3"

    assert broken(limits, a_case(**changes), a_case("r2")) == [("r1", (what,))]


def test_nothing_breaks_what_nobody_asked_for():
    assert broken("outcome", a_case(likeness=0.1, is_same_tools=False)) == []


@pytest.mark.parametrize("text", ["texts<0.8", "text>0.8", "text<2", "latency", "x"])
def test_a_threshold_that_says_nothing_is_refused(text):
    with pytest.raises(ValueError, match="must be of"):
        thresholds(text)


def test_only_what_differs_more_than_the_baseline_is_news():
    """A model differs from itself."""
    of_itself = [
        a_case("r1", likeness=0.6, is_baseline=True, upstream="switch"),
        a_case("r2", likeness=0.6, is_baseline=True, upstream="switch"),
        a_case("r3", is_same_tools=False, is_baseline=True, upstream="switch"),
    ]

    found = broken(
        "text<0.8,tools",
        a_case("r1", likeness=0.7),
        a_case("r2", likeness=0.5),
        a_case("r3", is_same_tools=False),
        *of_itself,
    )

    assert found == [("r2", ("text",))]


def test_another_question_is_counted_nowhere():
    cases = [a_case("r1", likeness=0.0, is_redacted=True), a_case("r2")]
    report = Report(thresholds("text<0.8"), cases)

    (summary,) = report.summaries()
    assert summary.cases == 1
    assert report.broken() == []
    assert report.worst() == []


def test_an_upstream_in_numbers():
    cases = [
        a_case(
            f"r{n}",
            seconds=float(n),
            likeness=1.0 if n % 2 else 0.5,
            is_answered=n < 10,
            input_tokens=2,
            output_tokens=3,
        )
        for n in range(1, 11)
    ]

    (summary,) = Report((), cases).summaries()

    assert (summary.cases, summary.answered, summary.equal) == (10, 9, 5)
    assert summary.likeness == 0.75
    assert summary.seconds == (5.0, 9.0)
    assert (summary.input_tokens, summary.output_tokens) == (20, 30)


def test_the_worst_come_first_and_equal_ones_not_at_all():
    cases = [
        a_case("r1", likeness=0.9),
        a_case("r2"),
        a_case("r3", is_same_outcome=False, likeness=0.0),
        a_case("r4", is_same_tools=False),
        *(a_case(f"more-{n}", likeness=0.95) for n in range(20)),
    ]

    worst = [case.record for case in Report((), cases).worst()]

    assert worst[:3] == ["r3", "r4", "r1"]
    assert len(worst) == 10
    assert "r2" not in worst
