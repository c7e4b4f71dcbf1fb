"""Changing the file of tokens: whole, one at a time, and nothing else in it."""

import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.gateway.access.tokens import (
    Caller,
    NameTaken,
    NoSuchToken,
    Token,
    TokensUnusable,
    new_token,
)
from app.gateway.chat import Priority
from app.storage.tokens.edit import TokenFile
from app.storage.tokens.file import read_tokens

BY_HAND = """\
# Ours. Ask Ana before you change it.

# the build machine
[[tokens]]
name = "ci"     # since 2024
sha256 = "1111111111111111111111111111111111111111111111111111111111111111"
scopes = ["chat"]

# the boss
[[tokens]]
name = "boss"
sha256 = "2222222222222222222222222222222222222222222222222222222222222222"
scopes = ["chat",
          "admin"]
# of the boss

[[ tokens ]]  # dashboards
name = "grafana"
sha256 = "3333333333333333333333333333333333333333333333333333333333333333"
scopes = ["metrics"]
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens.toml"


@pytest.fixture
def file(path):
    return TokenFile(path)


@pytest.fixture
def by_hand(path):
    path.write_text(BY_HAND)
    path.chmod(0o640)
    return TokenFile(path)


def a_token(name="new", **fields):
    caller = Caller(name, frozenset({"chat"}), Priority.LOW, 60)
    return Token(caller, Token.of(caller, new_token()).sha256, **fields)


def names(file):
    return [token.caller.name for token in file.tokens()]


def test_the_first_token_makes_the_file_for_its_owner_alone(file, path):
    token = a_token(not_before=1767225600.0, expires=1798761600.0)

    file.add(token, beside_others=False)

    assert file.tokens() == (token,)
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_written_by_hand_stays_as_it_is(by_hand, path):
    by_hand.add(a_token(), beside_others=False)

    assert path.read_text().startswith(BY_HAND)
    assert names(by_hand) == ["ci", "boss", "grafana", "new"]


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("ci", r"# the build machine\n.*?\n\n"),
        ("boss", r"# the boss\n.*of the boss\n\n"),
        ("grafana", r"\[\[ tokens \]\].*"),
    ],
)
def test_a_token_goes_with_its_comment_and_nothing_else(by_hand, path, name, gone):
    (removed,) = by_hand.remove(name)

    assert removed.caller.name == name
    left = re.sub(gone, "", BY_HAND, flags=re.DOTALL)
    assert path.read_text() == left.replace("[[ tokens ]]", "[[tokens]]")


def test_when_the_last_one_is_gone_the_file_says_that_none_is_meant(by_hand, path):
    for name in ("ci", "boss", "grafana"):
        by_hand.remove(name)

    assert names(by_hand) == []
    assert "Ask Ana" in path.read_text()
    assert "tokens = []" in path.read_text()

    by_hand.add(a_token(), beside_others=False)
    assert names(by_hand) == ["new"]


def test_a_name_is_made_once_unless_it_is_rotated(file):
    file.add(a_token(), beside_others=False)

    with pytest.raises(NameTaken):
        file.add(a_token(), beside_others=False)

    file.add(a_token(), beside_others=True)
    assert names(file) == ["new", "new"]


def test_all_tokens_of_a_name_go_or_the_one_of_an_id(file):
    tokens = [a_token() for _ in range(3)]
    for token in tokens:
        file.add(token, beside_others=True)

    assert file.remove("new", tokens[1].id) == (tokens[1],)
    assert file.tokens() == (tokens[0], tokens[2])
    assert file.remove("new") == (tokens[0], tokens[2])


def test_who_is_not_there_cannot_go(by_hand, path):
    for name, token_id in (("nobody", None), ("ci", "00000000")):
        with pytest.raises(NoSuchToken):
            by_hand.remove(name, token_id)

    assert path.read_text() == BY_HAND


def test_many_at_once_lose_none(path):
    def add(number):
        TokenFile(path).add(a_token(f"t{number}"), beside_others=False)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))

    assert set(names(TokenFile(path))) == {f"t{number}" for number in range(24)}


def test_whoever_reads_meanwhile_sees_a_whole_file(path):
    TokenFile(path).add(a_token("first"), beside_others=False)
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(
            lambda: [TokenFile(path).add(a_token(), beside_others=True)] * 30
        )
        while not adding.done():
            assert read_tokens(path)[0].caller.name == "first"


def test_a_broken_file_is_left_as_it_is(path, file):
    path.write_text("[[tokens]]\nname = ")
    path.chmod(0o600)

    for change in (lambda: file.add(a_token(), beside_others=True), file.tokens):
        with pytest.raises(TokensUnusable):
            change()

    assert path.read_text() == "[[tokens]]\nname = "
    assert sorted(os.listdir(path.parent)) == ["tokens.toml", "tokens.toml.lock"]


def inline(path, *names):
    """Records in one array, as some write them by hand."""
    records = [
        f'{{ name = "{name}", sha256 = "{str(n) * 64}", scopes = ["chat"] }},  # {name}'
        for n, name in enumerate(names, 1)
    ]
    path.write_text("tokens = [\n" + "\n".join(records) + "\n]\n# the end\n")
    path.chmod(0o600)


def test_a_record_of_an_array_is_cut_out_as_well(path, file):
    inline(path, "ci", "boss", "grafana")

    file.remove("boss")

    assert names(file) == ["ci", "grafana"]
    assert path.read_text().endswith("# grafana\n]\n# the end\n")
    file.remove("ci")
    file.remove("grafana")
    assert path.read_text() == "# the end\n\ntokens = []\n"


def test_what_cannot_be_added_to_is_left_for_an_editor(path, file):
    inline(path, "ci")

    with pytest.raises(TokensUnusable):
        file.add(a_token(), beside_others=True)

    assert names(file) == ["ci"]


def test_mode_and_owner_stay(by_hand, path):
    if os.geteuid() == 0:
        os.chown(path, 12345, 12346)

    by_hand.add(a_token(), beside_others=False)

    about = path.stat()
    assert about.st_mode & 0o777 == 0o640
    if os.geteuid() == 0:
        assert (about.st_uid, about.st_gid) == (12345, 12346)


def test_a_link_stays_a_link(by_hand, path, tmp_path):
    link = tmp_path / "link.toml"
    link.symlink_to(path)

    TokenFile(link).add(a_token(), beside_others=False)

    assert link.is_symlink()
    assert "new" in names(by_hand)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(TokensUnusable, match="No such file"):
        TokenFile(tmp_path / "none" / "t.toml").add(a_token(), beside_others=False)
