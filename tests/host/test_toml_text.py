"""A TOML text with its lines, and with every mistake in it."""

import time
import tomllib

import pytest

from app.host.toml_text import MOST_OF_TEXT, TomlText

GOOD = """\
# a comment
threads = 64

cors_origins = [
  "a",   # each on its own line
  "b",
]
[[upstreams]]
name = "one"
[[upstreams]]
name = "two"
inner = { deep = [1, { x = 2 }] }
[upstreams.more]
key = \"\"\"
several
lines\"\"\"
[plain.table]
last = 1
"""


@pytest.mark.parametrize(
    ("loc", "line"),
    [
        (("threads",), 2),
        (("cors_origins",), 4),
        (("cors_origins", 1), 4),
        (("upstreams",), 8),
        (("upstreams", 0, "name"), 9),
        (("upstreams", 1, "name"), 11),
        (("upstreams", 1, "inner", "deep", 1, "x"), 12),
        (("upstreams", 1, "more", "key"), 14),
        (("plain", "table", "last"), 18),
        (("upstreams", 0, "is not there"), 8),
        (("is not there",), None),
    ],
)
def test_the_line_of_a_value_or_of_the_table_where_it_should_be(loc, line):
    toml = TomlText(GOOD)

    assert toml.values == tomllib.loads(GOOD)
    assert toml.mistakes == []
    assert toml.line_of(loc) == line


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("a = ", "the value is none of TOML's: text needs quotes"),
        ("a = abc", "the value is none of TOML's: text needs quotes"),
        ('a = "abc', "the quotes are not closed, or there is an odd character"),
        ("a = 'abc", "a bracket, or the quotes, are not closed"),
        ('a = "\\d"', "a `\\` in double quotes must be doubled"),
        ("a", "there is no `=` behind the key"),
        ("a = 1 2", "something stands behind the value"),
        ("b = 2", "this key stands there twice"),
        ("= 3", "this is neither a key with its value nor a [table]"),
        ("a = 2026-02-30", "there is no such date or time"),
    ],
)
def test_what_is_wrong_is_told_by_its_line_and_the_rest_is_read(wrong, words):
    toml = TomlText(f"b = 1\n{wrong}\nc = 3\n[[t]]\nx = 1\n")

    assert [(one.line, one.words) for one in toml.mistakes] == [(2, words)]
    assert toml.values == {"b": 1, "c": 3, "t": [{"x": 1}]}
    assert toml.is_torn(()) is (wrong != "b = 2")


def test_all_mistakes_are_told_at_once():
    toml = TomlText("a = \nb = 1\nb = 2\n[t\nc = 1\n[t]\nd = [1\n\n[t]\n")

    assert [one.line for one in toml.mistakes] == [1, 3, 4, 7, 9]
    assert toml.values == {"b": 1, "t": {}}


def test_what_stands_below_a_broken_table_is_given_to_no_other():
    toml = TomlText('[[t]]\nname = "a"\n[[t]\nname = "b"\n[[t]]\nname = "c"\n')

    assert [one.line for one in toml.mistakes] == [3]
    assert toml.values == {"t": [{"name": "a"}, {"name": "c"}]}


@pytest.mark.parametrize(
    "text",
    [
        "a = [\n" + "1,\n" * MOST_OF_TEXT,
        "a = " + "[" * 9000,
        "x = 1\n" * 2000,
        "[[t]]\n" * 4000 + "=",
        'a = """' + "\n" * 4000,
        "a = [\n" * 4000,
    ],
)
def test_an_odd_text_takes_no_long_time(text):
    began = time.thread_time()

    toml = TomlText(text)
    toml.line_of(("a",))

    assert toml.mistakes
    assert time.thread_time() - began < 20


@pytest.mark.parametrize("ends", ["\r\n", "\n"])
def test_both_ends_of_a_line_will_do(ends):
    toml = TomlText(ends.join(["a = 1", "b = = 2", "c = 3"]))

    assert [one.line for one in toml.mistakes] == [2]
    assert toml.values == {"a": 1, "c": 3}
