import json
from math import inf, nan

from app.gateway import strict_json

encode = strict_json.encoder(separators=(",", ":"))


def test_numbers_that_json_has_no_words_for_are_null():
    value = {"a": [nan, -inf, 1.5, (inf,)], "b": {"c": inf, "d": "NaN"}}

    assert encode(value) == '{"a":[null,null,1.5,[null]],"b":{"c":null,"d":"NaN"}}'


def test_everything_else_is_as_python_writes_it():
    value = {"a": [1, 2.5, None, True, "\u00e9"]}

    assert encode(value) == json.dumps(value, separators=(",", ":"))
