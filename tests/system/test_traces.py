"""A trace goes through the whole gateway, as everybody beside it sees it."""

import json

import pytest

from tests.support.collector import a_collector, attributes
from tests.support.stack import Gateway, sandbox, wait_until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SHOWN = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


@pytest.fixture
def collector():
    with a_collector() as collector:
        yield collector


def test_each_attempt_is_a_span_that_upstream_record_log_and_collector_agree_on(
    tmp_path, collector
):
    with sandbox() as (switch, madre):
        urls = {"switch_url": switch.url, "madre_url": madre.url}
        settings = urls | {"workers": 1, "otlp_endpoint": collector.url}
        with Gateway(tmp_path, **settings) as gateway:
            switch.break_with("http_status", times=1)
            answer = gateway.chat(headers=SHOWN)
            (record,) = gateway.records()
        lines = gateway.log_lines()
        sent = [
            next(r for r in upstream.requests if r.method == "POST").headers
            for upstream in (switch, madre)
        ]

    assert answer.json()["provider"] == "madre"
    mine = answer.headers["traceparent"].split("-")[2]
    told = [{k.lower(): v for k, v in headers} for headers in sent]
    spans = [headers["traceparent"].split("-") for headers in told]
    assert [span[1] for span in spans] == [TRACE, TRACE]
    assert {headers["tracestate"] for headers in told} == {"vendor=1"}

    ids = [span[2] for span in spans]
    assert len({mine, PARENT, *ids}) == 4
    assert [a["span"] for a in json.loads(record["attempts"])] == ids
    assert TRACE in {line["trace_id"] for line in lines}

    wait_until(lambda: len(collector.spans) == 3)
    found = collector.spans
    assert found["chat"].span_id.hex() == mine
    assert found["chat"].parent_span_id.hex() == PARENT
    assert [found[f"chat {n}"].span_id.hex() for n in ("switch", "madre")] == ids
    assert attributes(found["chat"])["gateway.outcome"] == "completed"
