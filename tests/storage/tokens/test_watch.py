"""A changed file of tokens is in effect soon, and a broken one changes nothing."""

import logging
import os

import pytest

from app.gateway.access.tokens import Caller, Keyring, Token, TokensUnusable
from app.storage.tokens.edit import TokenFile
from app.storage.tokens.watch import LOOK_EVERY, PATIENCE, LastGood, TokenWatch
from tests.support.stack import wait_until

CI, BOSS = Caller("ci", frozenset({"chat"})), Caller("boss", frozenset({"chat"}))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens.toml"


@pytest.fixture
def file(path):
    file = TokenFile(path)
    file.add(Token.of(CI, "one"), beside_others=False)
    return file


@pytest.fixture
def keyring(clock):
    return Keyring([], clock=clock)


@pytest.fixture
def watch(path, file, keyring):
    """A watch whose thread does not look any more."""
    watch = TokenWatch(path, keyring)
    watch.start()
    watch.stop()
    return watch


def look(watch, times=2):
    for _ in range(times):
        watch.look()


def test_the_file_is_in_effect_from_the_start(watch, keyring):
    assert keyring.authenticate(b"one") == CI


def test_a_new_token_is_taken_up(watch, keyring, file, caplog):
    file.add(Token.of(BOSS, "two"), beside_others=False)

    with caplog.at_level(logging.WARNING):
        look(watch)

    assert keyring.authenticate(b"two") == BOSS
    (message,) = caplog.messages
    assert message == f"Token made: name=boss, id={Token.of(BOSS, 'two').id}"


def test_a_revoked_token_is_taken_away(watch, keyring, file, caplog):
    file.remove("ci")

    with caplog.at_level(logging.WARNING):
        look(watch)

    assert keyring.authenticate(b"one") is None
    assert caplog.messages[0].startswith("Token revoked: name=ci")


def test_a_file_that_is_still_being_written_is_not_taken_up(watch, keyring, path):
    """An editor that writes in place shows half of it first."""
    whole = path.read_text()
    path.write_text("tokens = []\n")
    watch.look()
    assert keyring.authenticate(b"one") == CI

    path.write_text(whole + "# more\n")
    look(watch, 3)
    assert keyring.authenticate(b"one") == CI


@pytest.mark.parametrize(
    "broken",
    [
        lambda path: path.write_text("[[tokens]]\n"),
        lambda path: path.unlink(),
        lambda path: path.chmod(0o666),
        lambda path: path.write_bytes(b"\xff"),
    ],
)
def test_a_broken_file_keeps_the_last_good_one(watch, keyring, path, broken, caplog):
    whole = path.read_text()
    broken(path)

    with caplog.at_level(logging.ERROR):
        look(watch, 6)

    assert keyring.authenticate(b"one") == CI
    assert keyring.problems
    assert len(caplog.messages) == len(keyring.problems)  # once, not at each look
    assert all(m.startswith("VX11_TOKENS_FILE") for m in caplog.messages)

    path.write_text(whole)
    path.chmod(0o600)
    look(watch)

    assert keyring.problems == ()


def test_an_emptied_file_revokes_all(watch, keyring, path):
    path.write_text("")
    watch.look()
    assert keyring.authenticate(b"one") == CI  # it may be written to

    watch.look()
    assert keyring.authenticate(b"one") is None
    assert keyring.problems == ()


class TestAFileThatNeverSettles:
    """Whatever writes to it again and again must not keep a revoked token valid."""

    def rewrite_and_look(self, watch, path, text, times):
        for number in range(times):
            path.write_text(f"{text}# {'x' * number}\n")
            watch.look()

    def test_it_is_taken_up_as_it_is_after_two_seconds(self, watch, keyring, path):
        text = path.read_text().replace(
            Token.of(CI, "one").sha256.hex(), Token.of(CI, "two").sha256.hex()
        )

        self.rewrite_and_look(watch, path, text, PATIENCE)

        assert PATIENCE * LOOK_EVERY <= 2
        assert keyring.authenticate(b"one") is None
        assert keyring.authenticate(b"two") == CI

    def test_the_last_token_is_revoked_by_it_too(self, watch, keyring, path):
        self.rewrite_and_look(watch, path, "tokens = []\n", PATIENCE)
        assert keyring.authenticate(b"one") == CI  # it may be written to

        self.rewrite_and_look(watch, path, "tokens = []\n#", 1)
        assert keyring.authenticate(b"one") is None

    def test_half_of_it_is_not(self, watch, keyring, path):
        self.rewrite_and_look(watch, path, "[[tokens]]\n", 10)

        assert keyring.authenticate(b"one") == CI


@pytest.mark.timeout(20)
def test_a_pipe_in_its_place_does_not_stop_the_watch(watch, keyring, path):
    whole = path.read_text()
    path.unlink()
    os.mkfifo(path, 0o600)
    look(watch)
    assert keyring.problems

    path.unlink()
    path.write_text(whole.replace("ci", "boss"))
    path.chmod(0o600)
    look(watch)

    assert keyring.authenticate(b"one") == BOSS


def test_an_expiry_needs_no_change_of_the_file(path, keyring, clock):
    file = TokenFile(path)
    digest = Token.of(CI, "one").sha256
    file.add(Token(CI, digest, expires=clock.now + 60), beside_others=False)
    watch = TokenWatch(path, keyring)
    watch.start()
    watch.stop()

    assert keyring.authenticate(b"one") == CI
    clock.advance(60)
    assert keyring.authenticate(b"one") is None


def test_its_own_thread_takes_changes_up_in_time(path, file, keyring):
    watch = TokenWatch(path, keyring)
    watch.start()
    try:
        file.remove("ci")
        wait_until(lambda: keyring.authenticate(b"one") is None, limit=5)
    finally:
        watch.stop()

    assert 2 * LOOK_EVERY < 5


def test_a_broken_file_at_the_start_is_refused(path, keyring):
    path.write_text("[[tokens]]\n")
    path.chmod(0o600)

    with pytest.raises(TokensUnusable):
        TokenWatch(path, keyring).start()


class TestABeginningWithABadFile:
    """A worker in the place of a dead one begins whenever that happens."""

    def test_what_was_last_good_is_in_effect_and_the_problem_is_known(
        self, path, file, keyring
    ):
        good = path.read_text()
        path.write_text("this is [not TOML")
        watch = TokenWatch(path, keyring)

        watch.start(last_good=good)
        watch.stop()

        assert keyring.authenticate(b"one") == CI
        assert keyring.problems
        path.write_text(good)
        look(watch)
        assert keyring.authenticate(b"one") == CI
        assert keyring.problems == ()

    def test_a_good_file_goes_before_what_was_good_once(self, path, file, keyring):
        watch = TokenWatch(path, keyring)

        watch.start(last_good="tokens = []")
        watch.stop()

        assert keyring.authenticate(b"one") == CI

    def test_the_master_keeps_what_was_good_and_forgets_what_was_revoked(
        self, path, file
    ):
        kept, before = LastGood(path), path.read_text()
        path.write_text("tokens = []")
        look(kept)
        assert kept.text == "tokens = []"

        for bad in ("this is [not TOML", before + "[[tokens]]\n"):
            path.write_text(bad)
            look(kept)
            assert kept.text == "tokens = []"
        path.unlink()
        look(kept)
        assert kept.text == "tokens = []"

    def test_a_first_start_is_refused(self, path, keyring):
        with pytest.raises(TokensUnusable):
            TokenWatch(path, keyring).start()
        with pytest.raises(TokensUnusable):
            LastGood(path)
