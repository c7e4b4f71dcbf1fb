"""The page that breaks and heals all stand-ins, for people."""

import re

import pytest
import requests


@pytest.fixture
def ask(switch, madre):
    switch.show_with({"switch": switch, "madre": madre})

    def call(path="", method="GET", **options):
        return requests.request(method, switch.page_url + path, timeout=5, **options)

    return call


def test_the_page_brings_all_that_it_needs_and_nothing_inline(ask):
    page = ask()

    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert name.startswith("data:") or ask(name).status_code == 200


def test_it_shows_every_stand_in_and_breaks_and_heals_each(ask, madre):
    wish = {"fault": "refuse"}

    broken = ask("all/madre", "POST", json=wish).json()
    assert broken["fault"] == "refuse"
    assert ask("all").json() == {
        "stand_ins": {"switch": {"fault": None}, "madre": broken}
    }
    with pytest.raises(requests.ConnectionError):
        requests.get(madre.url, timeout=5)

    assert ask("all/madre", "DELETE").json() == {"fault": None}
    assert requests.get(madre.url, timeout=5).status_code == 404


def test_a_stand_in_alone_shows_itself(madre):
    shown = requests.get(f"{madre.page_url}all", timeout=5).json()

    assert list(shown["stand_ins"]) == ["madre"]


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("all/nobody", "POST", 404),
        ("all/switch/more", "GET", 404),
        ("../sandbox", "GET", 404),
        ("page.py", "GET", 404),
        ("", "POST", 405),
        ("all", "DELETE", 405),
        ("all/switch", "PUT", 405),
    ],
)
def test_there_is_nothing_else(ask, path, method, status):
    assert ask(path, method).status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        # Its name leads to this machine by now.
        {"Origin": "http://evil.example", "Host": "evil.example"},
    ],
)
def test_the_page_of_somebody_else_can_break_nothing(ask, headers):
    wish = {"fault": "refuse"}

    assert ask("all/switch", "POST", json=wish, headers=headers).status_code == 403
    assert ask("fault", "POST", json=wish, headers=headers).status_code == 403
    assert ask("fault").json() == {"fault": None}
