"""For how long answers are cached, by model."""

import pytest

from app.gateway.kept.lifetimes import Lifetimes


@pytest.mark.parametrize(
    ("model", "seconds"),
    [
        (None, 60),
        ("nobody-knows", 60),
        ("news", 0),
        ("embed-small", 3600),
        ("embed-mine", 5),
        ("as-all", 60),
        ("switch", 60),
    ],
)
def test_a_route_goes_before_the_setting(model, seconds):
    routes = [
        ("news", 0.0),
        ("as-all", None),
        ("embed-*", 3600.0),
        ("embed-mine", 5.0),
        ("s*", 1.0),
    ]

    assert Lifetimes(60.0, routes, ["switch"]).of(model) == seconds


@pytest.mark.parametrize(
    ("default", "routes", "is_on"),
    [
        (0, [], False),
        (0, [("a", 0.0), ("b", None)], False),
        (0, [("a", 5.0)], True),
        (0, [("a*", 5.0)], True),
        (5, [], True),
    ],
)
def test_it_is_off_where_nothing_lasts(default, routes, is_on):
    assert bool(Lifetimes(default, routes, ["switch"])) == is_on
