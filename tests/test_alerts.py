"""Alert rules and dashboard speak of metrics that there are, and rules do fire."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.telemetry.metrics.chats import Metrics
from app.telemetry.metrics.instruments import INSTRUMENTS, Counter, Histogram
from app.telemetry.metrics.recorder import MetricRecorder

HOUSE = Path(__file__).parents[1]
PROMETHEUS = HOUSE / "deploy" / "prometheus"
DASHBOARD = json.loads((HOUSE / "deploy" / "grafana" / "dashboard.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule["alert"] for rule in RULES]
PLAYS = yaml.safe_load((PROMETHEUS / "alerts.test.yml").read_text())["tests"]

NAME = re.compile(r"\b(?:gateway|gen_ai)_[a-z_]+\b")


def exposed():
    """Every name of a sample that the page may have."""
    for instrument in INSTRUMENTS:
        yield from samples_of(instrument)


def samples_of(instrument):
    if isinstance(instrument, Histogram):
        return {f"{instrument.name}_{x}" for x in ("bucket", "count", "sum")}
    return {instrument.name}


@pytest.fixture(scope="module")
def begun():
    """The series of a gateway that has just started, before its first chat."""
    tally = MetricRecorder()
    metrics = Metrics(tally, lambda: [(tally.copy(), True)])
    metrics.begin(["switch", "madre"])
    families = text_string_to_metric_families(metrics.page().decode())
    return [(s.name, s.labels) for family in families for s in family.samples]


def is_there(series, name, wanted):
    """Whether a series of the name has these labels, or values that match them."""
    return any(
        found == name
        and all(re.fullmatch(value, labels.get(key, "")) for key, value in wanted)
        for found, labels in series
    )


def labels_in(selector):
    """The labels that are asked for, but for those that Prometheus itself adds."""
    asked = re.findall(r'(\w+)\s*=~?\s*"([^"]*)"', selector)
    return [(k, v) for k, v in asked if k not in {"job", "instance"}]


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def labels_of(name):
    for instrument in INSTRUMENTS:
        if name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") in (
            instrument.name,
            instrument.name.removesuffix("_count"),
        ):
            return {*instrument.labels, "le", "job", "instance"}
    return {"job", "instance"}


def expressions():
    yield from ((rule["alert"], rule["expr"]) for rule in RULES)
    for panel in panels():
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])


@pytest.fixture(scope="module")
def promtool():
    found = shutil.which("promtool")
    if found is None:
        assert "CI" not in os.environ, "CI must have promtool; .ci/run installs it"
        pytest.skip("promtool is not installed (Debian's package `prometheus` has it)")

    def run(*arguments):
        return subprocess.run(
            [found, *arguments], capture_output=True, text=True, check=False, timeout=60
        )

    return run


@pytest.mark.parametrize(("where", "expr"), list(expressions()))
def test_every_metric_and_label_that_is_asked_for_exists(where, expr):
    label_names = {label for i in INSTRUMENTS for label in i.labels}
    asked = set(NAME.findall(re.sub('"[^"]*"', "", expr))) - label_names

    assert asked <= set(exposed())
    for name, selector in re.findall(r"((?:gateway|gen_ai)_\w+)\{([^}]*)\}", expr):
        matched = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert matched <= labels_of(name), name


def test_nothing_is_measured_that_nobody_looks_at():
    text = " ".join(expr for _, expr in expressions())
    shown = set(NAME.findall(text)) | {"gateway_build_info"}  # names the instances

    unseen = [i.name for i in INSTRUMENTS if shown.isdisjoint(samples_of(i))]
    assert unseen == []


@pytest.mark.parametrize("rule", RULES, ids=ALERTS)
def test_what_an_alert_counts_up_from_nothing_begins_with_a_zero(rule, begun):
    """Prometheus sees no increase in a series that begins with it."""
    counted = re.findall(r"increase\(\s*(\w+)(?:\{([^}]*)\})?\[", rule["expr"])

    for name, selector in counted:
        assert is_there(begun, name, labels_in(selector)), name


def test_only_what_never_falls_is_asked_for_its_increase():
    growing = {i.name for i in INSTRUMENTS if isinstance(i, Counter)} | {
        name for name in exposed() if name.endswith(("_bucket", "_count", "_sum"))
    }

    for where, expr in expressions():
        asked = set(re.findall(r"(?:increase|rate)\(\s*(\w+)", expr))
        assert asked <= growing, where


def test_a_play_begins_with_a_zero_only_where_the_gateway_shows_one(begun):
    growing = (Counter, Histogram)
    names = {n for i in INSTRUMENTS if isinstance(i, growing) for n in samples_of(i)}
    for play in PLAYS:
        for one in play["input_series"]:
            name, _, selector = one["series"].partition("{")
            first = next(v for v in one["values"].split() if not v.startswith("_"))
            if name in names and first.startswith("0") and "_" not in one["values"]:
                assert is_there(begun, name, labels_in(selector)), one["series"]


def test_rules_and_scrape_configuration_are_good_in_the_eyes_of_prometheus(promtool):
    for arguments in (
        ("check", "rules", PROMETHEUS / "alerts.yml"),
        ("check", "config", PROMETHEUS / "prometheus.yml"),
    ):
        checked = promtool(*arguments)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_questions_of_the_dashboard_are_good_too(promtool, tmp_path):
    rules = [
        {"record": f"panel:{n}", "expr": re.sub(r"\$__rate_interval", "1m", expr)}
        for n, (_, expr) in enumerate(expressions())
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    checked = promtool("check", "rules", file)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_alert_fires_when_it_should_and_not_otherwise(promtool):
    played = promtool("test", "rules", PROMETHEUS / "alerts.test.yml")

    assert played.returncode == 0, played.stdout + played.stderr


def test_a_rule_that_does_not_fire_any_more_is_found(promtool, tmp_path):
    rules = (PROMETHEUS / "alerts.yml").read_text()
    assert rules.count("))) > 1\n") == 1
    broken = rules.replace("))) > 1\n", "))) > 60\n")
    (tmp_path / "alerts.yml").write_text(broken)
    shutil.copy(PROMETHEUS / "alerts.test.yml", tmp_path)

    played = promtool("test", "rules", tmp_path / "alerts.test.yml")

    assert played.returncode != 0
    assert "GatewayLatencyHigh fires" in played.stdout + played.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_played_both_ways(alert):
    looks = [
        bool(look["exp_alerts"])
        for play in PLAYS
        for look in play["alert_rule_test"]
        if look["alertname"] == alert
    ]

    assert set(looks) == {True, False}


@pytest.mark.parametrize("rule", RULES, ids=ALERTS)
def test_each_alert_says_how_bad_it_is_and_what_to_do(rule):
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert {"summary", "description"} <= set(rule["annotations"])

    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (HOUSE / page).read_text(), re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings


def test_the_thresholds_of_the_seed_are_alerts():
    by_name = {rule["alert"]: " ".join(rule["expr"].split()) for rule in RULES}

    assert by_name["GatewayLatencyHigh"].endswith("> 1")
    assert 'degraded="true"' in by_name["GatewayFallbackLatencyHigh"]
    assert by_name["GatewayFallbackLatencyHigh"].endswith("> 5")
    assert by_name["GatewayErrorRateHigh"].endswith("> 0.01")


def test_the_panels_of_the_dashboard_do_not_overlap():
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for grid in [panel["gridPos"]]
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]

    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
