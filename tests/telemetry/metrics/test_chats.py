import itertools

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.gateway import error_categories as error_types
from app.gateway.chain.admission_queue import HostLoad, Load
from app.gateway.chain.metered import Ending
from app.gateway.chat import Attempt, ChatReply, Priority, Usage
from app.telemetry.metrics import instruments as its
from app.telemetry.metrics.chats import Metrics
from app.telemetry.metrics.directory import MetricDirectory
from app.telemetry.metrics.recorder import MetricRecorder
from app.telemetry.metrics.sampling import Sampler, alone
from tests.support.fakes import a_request


class Page:
    """The page as Prometheus reads it."""

    def __init__(self, text):
        self.families = list(text_string_to_metric_families(text))
        self.samples = {
            (s.name, frozenset((k, v) for k, v in s.labels.items() if v)): s.value
            for family in self.families
            for s in family.samples
        }

    def __call__(self, name, **labels):
        return self.samples.get((name, frozenset(labels.items())))


class Measured:
    """One process's metrics, and the page that they make."""

    def __init__(self):
        self.tally = MetricRecorder()
        self.metrics = Metrics(self.tally, lambda: [(self.tally.copy(), True)])

    def page(self):
        return Page(self.metrics.page().decode())


@pytest.fixture
def measured():
    return Measured()


def an_ending(*attempts, stream=False, route="chat", **facts):
    reply = {
        "text": "",
        "upstream": "switch",
        "model": "m",
        "attempts": attempts or (Attempt("switch", None, 0.3),),
        "audit_seconds": 0.004,
    }
    known = {name: facts.pop(name) for name in list(facts) if name in REPLY}
    defaults = {
        "outcome": "completed",
        "error_type": "",
        "duration": 0.35,
        "queued": 0.02,
        "overhead": 0.001,
        "overshoot": -1.0,
        "first_delta": 0.2,
    }
    return Ending(
        a_request(stream=stream, route=route, priority=Priority.LOW),
        ChatReply(**(reply | known)),
        **(defaults | facts),
    )


REPLY = {"upstream", "usage", "degraded_by", "audit_seconds"}


def test_an_answer_is_counted_by_door_provider_and_outcome(measured):
    measured.metrics.ended(an_ending())
    measured.metrics.ended(an_ending(route="openai"))

    page = measured.page()
    labels = {"provider": "switch", "outcome": "completed", "degraded": "false"}
    assert page("gateway_requests_total", route="chat", **labels) == 1
    assert page("gateway_requests_total", route="openai", **labels) == 1
    assert page("gateway_queue_wait_seconds_sum", priority="low") == pytest.approx(0.04)
    assert page("gateway_overhead_seconds_count") == 2
    assert page("gateway_audit_commit_seconds_sum") == pytest.approx(0.008)
    assert page("gateway_deadline_overshoot_seconds_count") == 0


def test_a_fallback_is_counted_with_its_reason_and_each_attempt_is_timed(measured):
    attempts = (
        Attempt("switch", "read_timeout", 3.0),
        Attempt("madre", None, 0.4),
    )
    measured.metrics.ended(
        an_ending(*attempts, upstream="madre", degraded_by="read_timeout")
    )

    page = measured.page()
    hop = {"from": "switch", "to": "madre", "reason": "read_timeout"}
    assert page("gateway_fallbacks_total", **hop) == 1
    chat = {"gen_ai_operation_name": "chat"}
    name = "gen_ai_client_operation_duration_seconds"
    timed_out = {"gen_ai_provider_name": "switch", "error_type": "upstream_timeout"}
    assert page(f"{name}_sum", **timed_out, **chat) == 3
    assert page(f"{name}_count", gen_ai_provider_name="madre", **chat) == 1
    assert (
        page(
            "gen_ai_server_request_duration_seconds_count",
            gen_ai_provider_name="madre",
            degraded="true",
            **chat,
        )
        == 1
    )


def test_an_upstream_that_was_passed_over_was_not_asked(measured):
    attempts = (Attempt("switch", "circuit_open", 0.0), Attempt("madre", None, 0.4))
    measured.metrics.ended(an_ending(*attempts, upstream="madre"))

    page = measured.page()
    hop = {"from": "switch", "to": "madre", "reason": "circuit_open"}
    assert page("gateway_fallbacks_total", **hop) == 1
    asked = {
        dict(labels)["gen_ai_provider_name"]
        for name, labels in page.samples
        if name == "gen_ai_client_operation_duration_seconds_count"
    }
    assert asked == {"madre"}


def test_a_retry_is_no_fallback(measured):
    attempts = (Attempt("gpt", "rate_limited", 0.1), Attempt("gpt", None, 0.4))
    measured.metrics.ended(an_ending(*attempts))

    page = measured.page()
    retry = {"upstream": "gpt", "reason": "rate_limited"}
    assert page("gateway_retries_total", **retry) == 1
    assert [n for n, _ in page.samples if n == "gateway_fallbacks_total"] == []


def test_a_word_that_is_not_on_the_list_is_no_label(measured):
    attempts = (Attempt("switch", "a-callers-word", 3.0), Attempt("madre", None, 0.4))
    measured.metrics.ended(an_ending(*attempts))

    assert "a-callers-word" not in measured.metrics.page().decode()
    hop = {"from": "switch", "to": "madre", "reason": error_types.OTHER}
    assert measured.page()("gateway_fallbacks_total", **hop) == 1


def test_what_was_shed_is_counted_by_class_and_reason(measured):
    measured.metrics.ended(
        an_ending(
            upstream="",
            outcome="refused",
            error_type="policy_overloaded",
            refusal="queue_full",
            audit_seconds=0.0,
        )
    )

    page = measured.page()
    assert page("gateway_shed_total", priority="low", reason="queue_full") == 1
    assert page("gateway_errors_total", error_type="policy_overloaded") == 1
    labels = {"route": "chat", "provider": "none", "degraded": "false"}
    assert page("gateway_requests_total", outcome="refused", **labels) == 1


def test_streams_are_counted_by_their_end(measured):
    measured.metrics.ended(an_ending(stream=True))
    broken = {"outcome": "failed", "error_type": "upstream_bad_reply"}
    measured.metrics.ended(an_ending(stream=True, **broken))
    never_begun = {"outcome": "failed", "error_type": "upstream_timeout"}
    measured.metrics.ended(an_ending(stream=True, first_delta=None, **never_begun))
    measured.metrics.ended(an_ending())

    page = measured.page()
    ends = {
        dict(labels)["reason"]: value
        for (name, labels), value in page.samples.items()
        if name == "gateway_stream_end_total"
    }
    assert ends == {"completed": 1, "upstream_bad_reply": 1}
    labels = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "switch"}
    assert page("gen_ai_server_time_to_first_token_seconds_count", **labels) == 2


def test_tokens_are_counted_where_the_upstream_did(measured):
    measured.metrics.ended(an_ending(usage=Usage(12, 34)))
    measured.metrics.ended(an_ending(usage=Usage()))

    page = measured.page()
    labels = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "switch"}
    name = "gen_ai_client_token_usage"
    assert page(f"{name}_sum", gen_ai_token_type="input", **labels) == 12
    assert page(f"{name}_sum", gen_ai_token_type="output", **labels) == 34
    assert page(f"{name}_count", gen_ai_token_type="input", **labels) == 1


@pytest.mark.parametrize(
    "facts",
    [
        {"outcome": "failed", "error_type": error_types.AUDIT_UNAVAILABLE},
        {},  # answered all the same, at best effort
    ],
)
def test_a_record_that_could_not_be_committed_is_counted(measured, facts):
    measured.metrics.ended(an_ending(audit_seconds=0.0, **facts))

    assert measured.page()("gateway_audit_failures_total") == 1


def test_a_deadline_that_was_missed_is_seen(measured):
    measured.metrics.ended(an_ending(overshoot=0.3))

    page = measured.page()
    name = "gateway_deadline_overshoot_seconds_bucket"
    assert (page(name, le="0.25"), page(name, le="0.5")) == (0, 1)


def test_what_breaks_while_counting_is_counted(measured):
    with pytest.raises(AttributeError):
        measured.metrics.ended(an_ending(usage=None))

    assert measured.page()("gateway_metric_failures_total") == 1


def test_buckets_hold_what_is_at_most_their_bound(measured):
    for value in (0.01, 0.010001, 80.0, 1000.0):
        measured.tally.observe(its.FIRST_TOKEN, value, "chat", "switch")

    page = measured.page()
    labels = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "switch"}
    name = "gen_ai_server_time_to_first_token_seconds"
    bounds = ["0.01", "0.02", "40.96", "81.92", "+Inf"]
    counts = [page(f"{name}_bucket", le=le, **labels) for le in bounds]
    assert counts == [1, 2, 2, 3, 4]
    assert page(f"{name}_sum", **labels) == pytest.approx(1080.020001)


def test_the_workers_of_an_instance_make_one_page(tmp_path):
    folder = MetricDirectory(tmp_path / "counts")
    tallies = [MetricRecorder(folder.take_slot()) for _ in range(3)]
    for number, tally in enumerate(tallies, 1):
        Metrics(tally, list).ended(an_ending())
        tally.set(its.SLOTS_IN_USE, number)
        tally.set(its.BREAKER_STATE, number - 1, "switch")
        tally.set(its.HEALTHY, number != 2, "switch")
        tally.set(its.HEALTHY, float("nan"), "madre")
    del tally, tallies[2]

    page = Page(Metrics(tallies[0], folder.read_slots).page().decode())

    labels = {"provider": "switch", "outcome": "completed", "degraded": "false"}
    assert page("gateway_requests_total", route="chat", **labels) == 3
    assert page("gateway_slots_in_use") == 1 + 2
    assert page("gateway_breaker_state", upstream="switch") == 1
    assert page("gateway_upstream_healthy", upstream="switch") == 0
    assert page("gateway_upstream_healthy", upstream="madre") is None
    folder.leave()


def test_the_load_is_that_of_all_workers_that_live(tmp_path):
    folder = MetricDirectory(tmp_path / "counts")
    tallies = [MetricRecorder(folder.take_slot()) for _ in range(3)]
    metrics = Metrics(tallies[0], folder.read_slots)
    assert metrics.load() is None  # nobody has looked yet

    for number, tally in enumerate(tallies, 1):
        tally.set(its.WORKERS, 1)
        tally.set(its.SLOTS, 40)
        tally.set(its.SLOTS_IN_USE, number)
        tally.set(its.QUEUE_LENGTH, 1)
        tally.set(its.STREAMS_ACTIVE, 0)
    del tally, tallies[2]

    assert metrics.load() == HostLoad(2, 80, Load(busy=3, waiting=2, streams=0))
    folder.leave()


def test_where_nothing_is_measured_the_load_of_others_is_not_known():
    assert Metrics(MetricRecorder(), list).load() is None


def test_whoever_takes_over_a_slot_does_not_inherit_how_things_stood(tmp_path):
    folder = MetricDirectory(tmp_path / "counts")
    dead = MetricRecorder(folder.take_slot())
    dead.set(its.AUDIT_UNAVAILABLE, 1)
    dead.count(its.AUDIT_FAILURES)
    del dead

    heir = MetricRecorder(folder.take_slot())
    heir.reset((its.AUDIT_UNAVAILABLE,))

    page = Page(Metrics(heir, folder.read_slots).page().decode())
    assert page("gateway_audit_unavailable") is None
    assert page("gateway_audit_failures_total") == 1
    folder.leave()


def test_series_of_another_release_do_no_harm(tmp_path):
    folder = MetricDirectory(tmp_path / "counts")
    before = MetricRecorder(folder.take_slot())
    before.count(its.Counter("gateway_of_long_ago_total", "", ("label",)), "x")
    other_bounds = its.Histogram("gateway_overhead_seconds", "", (), (1.0, 2.0))
    before.observe(other_bounds, 1.5)
    before.count(its.AUTH_FAILURES, "wrong")
    del before

    metrics = Metrics(MetricRecorder(folder.take_slot()), folder.read_slots)
    metrics.ended(an_ending())

    page = Page(metrics.page().decode())
    assert page("gateway_of_long_ago_total", label="x") is None
    assert page("gateway_overhead_seconds_count") == 1
    assert page("gateway_auth_failures_total", reason="wrong") == 1
    folder.leave()


def test_gauges_are_what_was_last_found(measured):
    values = iter([1.0, None])
    sampler = Sampler(measured.tally, {its.QUEUE_LENGTH: alone(lambda: next(values))})

    sampler.sample()
    assert measured.page()("gateway_queue_length") == 1
    sampler.sample()
    assert measured.page()("gateway_queue_length") is None


def test_a_look_that_breaks_is_logged_once_and_the_others_go_on(measured, caplog):
    def broken():
        raise ZeroDivisionError

    looks = {its.QUEUE_LENGTH: broken, its.SLOTS: alone(lambda: 5)}
    sampler = Sampler(measured.tally, looks)

    sampler.sample()
    sampler.sample()

    assert measured.page()("gateway_slots") == 5
    assert caplog.text.count("gateway_queue_length cannot be told") == 1


def test_what_a_worker_counted_elsewhere_stays_when_it_dies(tmp_path):
    """As a gauge of living workers it fell, and rose, when one was replaced."""
    folder = MetricDirectory(tmp_path / "counts")
    alone = iter([2, 2, 5])
    worker = MetricRecorder(folder.take_slot())
    sampler = Sampler(worker, {}, {its.SHARED_ALONE: lambda: next(alone)})

    def counted():
        reader = Metrics(MetricRecorder(), folder.read_slots)
        return Page(reader.page().decode())("gateway_shared_alone_total")

    sampler.sample()
    sampler.sample()
    assert counted() == 2
    sampler.stop()
    assert counted() == 5

    del worker, sampler
    assert counted() == 5
    heir = MetricRecorder(folder.take_slot())
    Sampler(heir, {}, {its.SHARED_ALONE: lambda: 1}).sample()
    assert counted() == 6
    folder.leave()


def test_credentials_that_are_rejected_begin_with_a_zero(measured):
    measured.metrics.begin(["switch", "madre"])

    for name in ("switch", "madre"):
        labels = {
            "gen_ai_operation_name": "chat",
            "gen_ai_provider_name": name,
            "error_type": "upstream_auth",
        }
        page = measured.page()
        assert page("gen_ai_client_operation_duration_seconds_count", **labels) == 0


def test_no_instrument_has_an_id_or_a_path_for_a_label():
    allowed = {
        "route", "provider", "outcome", "degraded", "error_type", "from", "to",
        "reason", "upstream", "priority", "version", "gen_ai_provider_name",
        "gen_ai_operation_name", "gen_ai_token_type", "result",
    }  # fmt: skip

    used = set(itertools.chain(*(i.labels for i in its.INSTRUMENTS)))

    assert used <= allowed
    names = [i.name for i in its.INSTRUMENTS]
    assert len(names) == len(set(names))


def test_the_page_is_good_in_the_eyes_of_prometheus(measured):
    for facts in ({}, {"usage": Usage(1, 2)}, {"degraded_by": "x"}):
        measured.metrics.ended(an_ending(stream=True, **facts))
    measured.metrics.auth_failed("wrong")
    measured.metrics.breaker_moved("switch", "open")

    families = {family.name for family in measured.page().families}

    assert families == {i.name.removesuffix("_total") for i in its.INSTRUMENTS}
