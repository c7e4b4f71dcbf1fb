"""What may stand in the file of tokens, and what is said of what may not."""

import os
from math import inf
from pathlib import Path

import pytest

from app.gateway.access.tokens import DEFAULTS, Token, TokensUnusable, digest
from app.gateway.chat import Priority
from app.storage.tokens.file import MAX_BYTES, parse_tokens, read_tokens

SHA = digest(b"a-token-of-ci").hex()
OTHER_SHA = digest(b"another-token").hex()
ONE = f'[[tokens]]\nname = "ci"\nsha256 = "{SHA}"\nscopes = ["chat"]\n'


def problems(text):
    with pytest.raises(TokensUnusable) as caught:
        parse_tokens(text)
    return caught.value.problems


def test_a_record_says_everything_about_a_caller():
    (token,) = parse_tokens(
        f"""
        [[tokens]]
        name = "ci"
        sha256 = "{SHA.upper()}"
        scopes = ["chat", "audit"]
        class = "low"
        rate = 60
        names_people = true
        not_before = 2026-01-01
        expires = 2026-01-02T01:00:00+01:00
        """
    )

    caller = token.caller
    assert (caller.name, caller.scopes) == ("ci", {"chat", "audit"})
    assert (caller.priority, caller.rate) == (Priority.LOW, 60)
    assert caller.names_people
    assert token.sha256.hex() == SHA
    assert (token.not_before, token.expires) == (1767225600, 1767312000)


def test_what_is_left_out_is_no_limit():
    (token,) = parse_tokens(ONE)

    assert (token.caller.priority, token.caller.rate) == (Priority.NORMAL, None)
    assert not token.caller.names_people
    assert (token.not_before, token.expires) == (-inf, inf)
    assert token == Token.of(token.caller, "a-token-of-ci")


def test_a_name_may_have_several_tokens():
    assert len(parse_tokens(ONE + ONE.replace(SHA, OTHER_SHA))) == 2


def test_no_tokens_may_be_meant():
    assert parse_tokens("tokens = []\n") == parse_tokens("# nobody\n") == ()


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_emptied_file_means_that_nobody_has_a_token(text):
    assert parse_tokens(text) == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("ci", "C I"), "name: must be 1 to 64 of"),
        (("ci", "operator"), "name: is a name that the gateway itself uses"),
        ((SHA, "abc"), "sha256: must be 64 hex digits"),
        ((SHA, digest(b"").hex()), "sha256: is that of an empty or a default token"),
        ((SHA, digest(b"changeme").hex()), "sha256: is that of an empty or a default"),
        (('["chat"]', "[]"), "scopes: must name at least 1"),
        (('["chat"]', '["chats"]'), "scopes.1: must be `chat`, `audit`"),
        (("scopes", "scope"), "scopes: is missing"),
        (("[[tokens]]", '[[tokens]]\nclass = "vip"'), "class: must be `high`"),
        (("[[tokens]]", "[[tokens]]\nrate = 0"), "rate: must be at least 1"),
        (("[[tokens]]", '[[tokens]]\nrate = "60"'), "rate: must be a whole number"),
        (("[[tokens]]", '[[tokens]]\nexpires = "x"'), "expires: must be a date or"),
        (("[[tokens]]", "[[tokens]]\nexpires = 12:00:00"), "expires: must be a date"),
        (
            (
                "[[tokens]]",
                "[[tokens]]\nnot_before = 2026-01-02\nexpires = 2026-01-02",
            ),
            "expires is not later than not_before",
        ),
    ],
)
def test_a_mistake_is_told_by_its_place(change, expected):
    found = problems(ONE.replace(*change))

    assert any(expected in problem for problem in found), found
    assert all(": [[tokens]] number 1" in problem for problem in found)
    assert all(problem.startswith("line ") for problem in found)


def test_all_mistakes_are_told_at_once():
    broken = ONE.replace("chat", "x") + ONE.replace("ci", "A").replace(SHA, OTHER_SHA)

    assert len(problems(f"other = 1\n{broken}")) == 3


def test_the_same_token_twice_is_a_mistake():
    assert problems(ONE + ONE) == ("ci: the same sha256 stands there twice",)


@pytest.mark.parametrize(
    "text",
    [
        f'[[tokens]]\nname = "ci"\nsha256 = {SHA}',
        f'[[tokens]]\nname = "{SHA}\nsha256 = 1',
        f'"{SHA}" = "ci"\n{ONE}',
        f'[[tokens]]\n{SHA} = "ci"',
        ONE.replace(SHA, f"{SHA}00"),
        ONE.replace('"chat"', f'"{SHA}"'),
        ONE.replace('"ci"', f'"{SHA}{SHA}"'),
        f'tokens = "{SHA}"',
        f'tokens = ["{SHA}"]',
        f'[tokens]\nname = "{SHA}"',
        ONE + ONE,
    ],
)
def test_no_value_is_ever_repeated(text):
    assert SHA[:16] not in " ".join(problems(text))


@pytest.mark.parametrize("text", ["[[tokens", "\0", "tokens = 3"])
def test_what_is_no_list_of_tokens_is_told(text):
    assert len(problems(text)) == 1


def test_all_default_tokens_are_known():
    assert "" in DEFAULTS
    for word in DEFAULTS:
        assert problems(ONE.replace(SHA, digest(word.encode()).hex()))


class TestFile:
    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "tokens.toml"
        path.write_text(ONE)
        path.chmod(0o640)
        return path

    def unusable(self, path):
        with pytest.raises(TokensUnusable) as caught:
            read_tokens(path)
        return str(caught.value)

    def test_it_is_read(self, file):
        assert [t.caller.name for t in read_tokens(file)] == ["ci"]

    @pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
    def test_one_that_others_may_write_to_is_not_trusted(self, file, mode):
        file.chmod(mode)

        assert "chmod 600" in self.unusable(file)

    def test_one_that_is_not_there_is_told(self, tmp_path):
        assert "No such file" in self.unusable(tmp_path / "none.toml")

    def test_a_folder_is_told(self, tmp_path):
        assert "directory" in self.unusable(tmp_path)

    @pytest.mark.timeout(10)
    def test_a_pipe_is_told_and_not_waited_for(self, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe, 0o600)

        assert "pipe" in self.unusable(pipe)

    def test_a_device_without_an_end_is_not_read(self):
        assert "device" in self.unusable(Path("/dev/zero"))

    def test_one_that_is_not_utf8_is_told(self, file):
        file.write_bytes(b"\xff\xfe" + ONE.encode("utf-16-le"))

        assert "UTF-8" in self.unusable(file)

    def test_one_that_is_huge_is_not_read(self, file):
        os.truncate(file, MAX_BYTES * 1000)

        assert "larger" in self.unusable(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_not_taken_up(tmp_path):
    path = tmp_path / "tokens.toml"
    path.write_text(ONE)
    path.chmod(0o644)
    folder = os.open(tmp_path, os.O_RDONLY)
    here = Path(f"/proc/self/fd/{folder}/tokens.toml")

    def read_as(reader, owner):
        os.chown(path, owner, owner)
        os.seteuid(reader)
        try:
            return read_tokens(here)
        finally:
            os.seteuid(0)

    try:
        tmp_path.chmod(0o755)
        assert len(read_as(1234, 1234)) == len(read_as(1234, 0)) == 1
        assert len(read_as(0, 4321)) == 1  # root mends the files of others, too
        with pytest.raises(TokensUnusable) as caught:
            read_as(1234, 4321)
    finally:
        os.close(folder)
    assert "belongs to another user" in caught.value.problems[0]
